//! Who asks: the user behind a peer of the control socket, by name, and what they did, in the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::problem::word;
use crate::serve::Peer;
use crate::session::{Code, Id};

/// So many users are remembered; beyond them the file is read each time.
const MOST: usize = 1_024;
/// Where the system's own users have their names.
const USERS: &str = "/etc/passwd";

/// The names of users, each looked up once.
#[derive(Debug, Default)]
pub(super) struct Operators {
    names: Mutex<HashMap<u32, Arc<str>>>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// The user's name, or the number where it has none.
    pub who: Arc<str>,
    peer: Option<Peer>,
}

impl Operators {
    /// The operator behind a peer. Nothing that the peer says of itself is believed.
    pub(super) async fn of(&self, peer: Option<Peer>) -> Operator {
        let who = match peer {
            Some(Peer::Unix { uid, .. }) => self.name(uid).await,
            Some(Peer::Tcp(address)) => Arc::from(address.to_string()),
            None => Arc::from("unknown"),
        };
        Operator { who, peer }
    }

    async fn name(&self, uid: u32) -> Arc<str> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned();
        if let Some(name) = known {
            return name;
        }
        // Without the file, or with the user in a directory service, the number has to do.
        let users = tokio::fs::read(USERS).await.unwrap_or_default();
        let name =
            name_in(&String::from_utf8_lossy(&users), uid).map_or_else(|| uid.to_string(), str::to_owned);
        let name: Arc<str> = name.into();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MOST {
            names.insert(uid, name.clone());
        }
        name
    }
}

impl Operator {
    /// One line for each thing that an operator did or tried.
    pub(super) fn did(&self, what: &'static str, id: Option<Id>, result: Result<(), Code>) {
        let (uid, gid, pid) = match self.peer {
            Some(Peer::Unix { uid, gid, pid }) => (Some(uid), Some(gid), pid),
            Some(Peer::Tcp(_)) | None => (None, None, None),
        };
        let result = result.map_or_else(word, |()| "done");
        let session = id.map(tracing::field::display);
        tracing::info!(who = &*self.who, uid, gid, pid, what, session, result, "operator");
    }
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        let fits = number.parse() == Ok(uid) && !name.is_empty() && !name.contains(char::is_control);
        fits.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "root:x:0:0:root:/root:/bin/bash\n# a remark\nnobody\n:x:7:7::/:\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    #[test]
    fn users_have_the_name_that_the_system_gives_them() {
        assert_eq!(name_in(SOME, 0), Some("root"));
        assert_eq!(name_in(SOME, 1000), Some("alice"));
        assert_eq!(name_in(SOME, 7), None);
        assert_eq!(name_in(SOME, 100), None);
    }

    #[tokio::test]
    async fn a_user_without_a_name_is_a_number() {
        let operators = Operators::default();
        let peer = Peer::Unix { uid: 4_000_000_001, gid: 0, pid: Some(1) };
        assert_eq!(&*operators.of(Some(peer)).await.who, "4000000001");
        assert_eq!(operators.names.lock().unwrap().len(), 1);
        assert_eq!(&*operators.of(None).await.who, "unknown");
    }
}
