//! Films of all kinds, every segment from a run of its own, and then in an order that nobody plans.

use sluice_tests::Origin;
use sluice_tests::splices::{Film, Order, engine, prove, prove_in_sync};

async fn joins_exactly(film: Film) {
    let (origin, engine) = (Origin::start().await, engine().await);
    prove(&engine, &origin, film, Order::Backwards).await;
    for seed in 1..=3 {
        prove(&engine, &origin, film, Order::Shuffled(seed)).await;
    }
}

/// A test for each film, so that a failure names it and the others are still shown.
macro_rules! films {
    ($($name:ident: $film:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            joins_exactly($film).await;
        })*
    };
}

films! {
    copied_index_first: Film::copied("clip.mp4");
    copied_index_last: Film::copied("clip_index_last.mp4");
    copied_fragments_with_an_index_in_front: Film::copied("sidx.mp4");
    copied_fragments_with_an_index_at_the_end: Film::copied("mfra.mp4");
    copied_matroska: Film::copied("clip.mkv");
    copied_transport_stream: Film::copied("clip.ts");
    copied_transport_stream_from_an_hour_on: Film::copied("late.ts");
    copied_transport_stream_whose_clock_is_full: Film::copied("wrap.ts");
    copied_open_groups_in_matroska: Film::copied("open.mkv");
    copied_open_groups_in_a_transport_stream: Film::copied("open.ts");
    copied_irregular_key_frames: Film::copied("irregular.mp4");
    copied_ntsc: Film::copied("ntsc.mp4");
    copied_variable_rate: Film::copied("vfr.mp4");
    copied_without_sound: Film::copied("silent.mp4");
    copied_matroska_that_begins_late: Film::copied("moved.mkv");
    copied_mp4_that_begins_late: Film::copied("moved.mp4");
    copied_sound_that_begins_late: Film::copied("late_sound.mp4");
    copied_sound_that_ends_early: Film::copied("early_end.mp4");
    copied_turned_picture: Film { upright: UPRIGHT, ..Film::copied("turned.mp4") };
    copied_picture_and_encoded_sound: Film::copied("tracks.mkv");
    copied_film_of_half_a_minute: Film::copied("film.mp4");

    encoded_mp4: Film::encoded("deep.mp4", "25");
    encoded_matroska: Film::encoded("deep.mkv", "25");
    encoded_transport_stream: Film::encoded("deep.ts", "25");
    encoded_transport_stream_from_an_hour_on: Film::encoded("deep_late.ts", "25");
    encoded_transport_stream_whose_clock_is_full: Film::encoded("deep_wrap.ts", "25");
    encoded_without_an_index: Film::encoded("bare.mp4", "25");
    encoded_with_few_key_frames: Film::encoded("sparse.mp4", "25");
    encoded_cinema: Film::encoded("cinema.mp4", "24000/1001");
    encoded_cinema_in_matroska: Film::encoded("cinema.mkv", "24000/1001");
    encoded_ntsc: Film::encoded("ntsc_deep.mp4", "30000/1001");
    encoded_fifty: Film::encoded("fifty.mp4", "50");
    encoded_sixty: Film::encoded("sixty.mp4", "60000/1001");
    encoded_sixty_in_a_transport_stream: Film::encoded("sixty.ts", "60000/1001");
    encoded_variable_rate: Film::encoded("vfr_deep.mp4", "25");
    encoded_hevc: Film::encoded("hevc.mp4", "25");
    encoded_vp9_and_opus: Film { opus: true, ..Film::encoded("clip.webm", "25") };
    encoded_avi: Film::encoded("clip.avi", "25");
    encoded_interlaced: Film { woven: true, ..Film::encoded("interlaced.ts", "25") };
    encoded_turned_picture: Film { upright: UPRIGHT, ..Film::encoded("turned_deep.mp4", "25") };

    sound_in_mp4: Film::sound("audio_only.m4a");
    sound_in_mp3: Film::sound("audio_only.mp3");
    sound_with_a_cover: Film::sound("cover.m4a");
}

/// What turns a picture back that ffmpeg has turned as its display matrix asks.
const UPRIGHT: &str = "transpose=cclock";

#[tokio::test]
async fn a_film_that_begins_in_the_middle_of_a_group_is_in_sync() {
    // What stands before its first picture by the edit list may be shown or not; no picture is lost behind it.
    let (origin, engine) = (Origin::start().await, engine().await);
    prove_in_sync(&engine, &origin, Film::copied("edited.mp4"), Order::Backwards).await;
}
