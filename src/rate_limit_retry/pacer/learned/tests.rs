use super::*;

const SECOND: Duration = Duration::from_secs(1);

// The numbers began anew at the second opening; a refusal of one of before then was a panic.
#[test]
fn a_pause_that_is_asked_for_when_the_limit_has_opened_loses_no_count() {
    let (mut learned, start) = (Learned::new(), time::now());
    let first: Vec<_> = (0..2).map(|_| learned.sent(false, start)).collect();
    learned.refused(first[0], Pause::Hint(SECOND), start);
    let opened = start + SECOND;
    learned.open(opened);
    let second: Vec<_> = (0..4)
        .map(|quarters| learned.sent(true, opened + SECOND / 4 * quarters))
        .collect();

    let late = opened + SECOND;
    assert_eq!(
        learned.refused(first[1], Pause::Hint(SECOND), late),
        late + SECOND
    );
    learned.open(late + SECOND);
    let third = learned.sent(true, late + SECOND);
    for sent in &second[..3] {
        learned.let_through(*sent, late + SECOND);
    }
    learned.refused(second[3], Pause::Hint(SECOND), late + SECOND);
    assert_eq!(third.number, 5);
    // Three within the seven quarters of a second between the two refusals.
    let (rate, _) = learned.estimate().unwrap();
    assert!((1.5..=4.5).contains(&rate), "{rate}");
}

// Digits beyond any integer are read as `Duration::MAX`; the time that the answer took came on top.
#[test]
fn the_longest_pause_of_all_is_no_overflow() {
    for pause in [Pause::Hint, Pause::Outage, Pause::Guess] {
        let (mut learned, start) = (Learned::new(), time::now());
        let sent = learned.sent(false, start);
        let heard = start + SECOND;
        let opens = learned.refused(sent, pause(Duration::MAX), heard);
        assert_eq!(opens, time::after(heard, Duration::MAX));
    }
}
