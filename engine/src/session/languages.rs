//! The languages of tracks: containers name them by ISO 639-2, players by BCP 47 (RFC 5646), people by name.

/// The shortest code, the others that containers use, and the English name.
const LANGUAGES: &[(&str, &[&str], &str)] = &[
    ("af", &["afr"], "Afrikaans"),
    ("ar", &["ara"], "Arabic"),
    ("az", &["aze"], "Azerbaijani"),
    ("be", &["bel"], "Belarusian"),
    ("bg", &["bul"], "Bulgarian"),
    ("bn", &["ben"], "Bengali"),
    ("bs", &["bos"], "Bosnian"),
    ("ca", &["cat"], "Catalan"),
    ("cs", &["cze", "ces"], "Czech"),
    ("cy", &["wel", "cym"], "Welsh"),
    ("da", &["dan"], "Danish"),
    ("de", &["ger", "deu"], "German"),
    ("el", &["gre", "ell"], "Greek"),
    ("en", &["eng"], "English"),
    ("eo", &["epo"], "Esperanto"),
    ("es", &["spa"], "Spanish"),
    ("et", &["est"], "Estonian"),
    ("eu", &["baq", "eus"], "Basque"),
    ("fa", &["per", "fas"], "Persian"),
    ("fi", &["fin"], "Finnish"),
    ("fil", &[], "Filipino"),
    ("fr", &["fre", "fra"], "French"),
    ("ga", &["gle"], "Irish"),
    ("gl", &["glg"], "Galician"),
    ("gu", &["guj"], "Gujarati"),
    ("he", &["heb", "iw"], "Hebrew"),
    ("hi", &["hin"], "Hindi"),
    ("hr", &["hrv", "scr"], "Croatian"),
    ("hu", &["hun"], "Hungarian"),
    ("hy", &["arm", "hye"], "Armenian"),
    ("id", &["ind", "in"], "Indonesian"),
    ("is", &["ice", "isl"], "Icelandic"),
    ("it", &["ita"], "Italian"),
    ("ja", &["jpn"], "Japanese"),
    ("ka", &["geo", "kat"], "Georgian"),
    ("kk", &["kaz"], "Kazakh"),
    ("km", &["khm"], "Khmer"),
    ("kn", &["kan"], "Kannada"),
    ("ko", &["kor"], "Korean"),
    ("ku", &["kur"], "Kurdish"),
    ("la", &["lat"], "Latin"),
    ("lt", &["lit"], "Lithuanian"),
    ("lv", &["lav"], "Latvian"),
    ("mk", &["mac", "mkd"], "Macedonian"),
    ("ml", &["mal"], "Malayalam"),
    ("mn", &["mon"], "Mongolian"),
    ("mr", &["mar"], "Marathi"),
    ("ms", &["may", "msa"], "Malay"),
    ("nl", &["dut", "nld"], "Dutch"),
    ("no", &["nor", "nb", "nob", "nn", "nno"], "Norwegian"),
    ("pa", &["pan"], "Punjabi"),
    ("pl", &["pol"], "Polish"),
    ("pt", &["por"], "Portuguese"),
    ("ro", &["rum", "ron"], "Romanian"),
    ("ru", &["rus"], "Russian"),
    ("sk", &["slo", "slk"], "Slovak"),
    ("sl", &["slv"], "Slovenian"),
    ("sq", &["alb", "sqi"], "Albanian"),
    ("sr", &["srp", "scc"], "Serbian"),
    ("sv", &["swe"], "Swedish"),
    ("sw", &["swa"], "Swahili"),
    ("ta", &["tam"], "Tamil"),
    ("te", &["tel"], "Telugu"),
    ("th", &["tha"], "Thai"),
    ("tl", &["tgl"], "Tagalog"),
    ("tr", &["tur"], "Turkish"),
    ("uk", &["ukr"], "Ukrainian"),
    ("ur", &["urd"], "Urdu"),
    ("uz", &["uzb"], "Uzbek"),
    ("vi", &["vie"], "Vietnamese"),
    ("yue", &[], "Cantonese"),
    ("zh", &["chi", "zho", "cmn"], "Chinese"),
];

/// The BCP 47 tag of what a container says, and the language's English name where it is known. What is no tag
/// at all, such as a language's name, is none.
pub(super) fn language(said: &str) -> Option<(String, Option<&'static str>)> {
    let said = said.trim().replace('_', "-");
    let mut parts = said.split('-');
    let base = parts.next().filter(|base| (2..=8).contains(&base.len()))?.to_ascii_lowercase();
    let is_part =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !base.bytes().all(|byte| byte.is_ascii_lowercase()) || !parts.clone().all(is_part) {
        return None;
    }
    let known = LANGUAGES.iter().find(|(short, others, _)| *short == base || others.contains(&&*base));
    if known.is_none() && base.len() > 3 {
        return None;
    }
    let short = known.map_or(base.as_str(), |(short, _, _)| short);
    let tag = parts.fold(short.to_owned(), |tag, part| format!("{tag}-{part}"));
    Some((tag, known.map(|(_, _, name)| *name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_say_becomes_a_tag_that_players_know() {
        for (said, expected) in [
            ("eng", Some(("en", Some("English")))),
            ("fre", Some(("fr", Some("French")))),
            ("fra", Some(("fr", Some("French")))),
            ("de", Some(("de", Some("German")))),
            ("GER", Some(("de", Some("German")))),
            ("pt-BR", Some(("pt-BR", Some("Portuguese")))),
            ("zh_Hant", Some(("zh-Hant", Some("Chinese")))),
            ("tlh", Some(("tlh", None))),
            ("English", None),
            ("x", None),
            ("e\"n", None),
            ("en-\n", None),
            ("", None),
        ] {
            let found = language(said);
            assert_eq!(found.as_ref().map(|(tag, name)| (tag.as_str(), *name)), expected, "{said:?}");
        }
    }
}
