use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn hint(seconds: u32) -> Pause {
    Pause::Hint(seconds * SECOND)
}

// A classifier may say so. The limit never opened: the refused one kept its place among those at a time.
#[test]
fn a_pause_of_nothing_is_an_opening_as_well() {
    let now = time::now();
    let mut limits = Limits::new(Learning::On, [], None, now);
    let first = limits.sent(false, now);
    limits.refused(Some(first), hint(0), now);
    for _ in 0..4 {
        assert_eq!(limits.turn(now), Turn::Go);
        limits.sent(true, now);
    }
    assert_eq!(limits.turn(now), Turn::AfterAnswer);
}
