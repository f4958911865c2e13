//! Windows over what is too long for a model, so that nothing is lost.

use std::ops::Range;

use lmprobe_core::{Error, Result};

use super::settings::InputSettings;

/// Windows of at most `room` over `0..n`, each beginning `step` behind the one before; the last one ends at `n`. There is one at least.
fn windows(n: usize, room: usize, step: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    loop {
        let end = n.min(start + room);
        windows.push(start..end);
        if end == n {
            return windows;
        }
        start += step;
    }
}

/// Windows over `n` pieces of which `room` fit: one that holds all, or as many as the settings' overlap takes.
///
/// # Errors
/// If windows would overlap wholly.
pub(crate) fn covering(n: usize, room: usize, settings: &InputSettings) -> Result<Vec<Range<usize>>> {
    Ok(windows(n, room, if n > room { step(settings, room)? } else { room }))
}

/// How far the next window begins behind one of `room` tokens.
///
/// # Errors
/// If windows would overlap wholly.
pub(crate) fn step(settings: &InputSettings, room: usize) -> Result<usize> {
    if let Some(step) = settings.window_step {
        // The original BioBERT: never further than the window reaches.
        return Ok(step.min(room));
    }
    let overlap = settings.window_overlap.unwrap_or(settings.max_length / 3);
    room.checked_sub(overlap).filter(|step| *step > 0).ok_or_else(|| {
        Error::Config(format!(
            "`window_overlap` {overlap} leaves no step between windows that hold {room} tokens of a text (`max_length` {}): take a smaller overlap or a greater length",
            settings.max_length
        ))
    })
}

/// The window in which `item` has most on its nearer side; of equal ones the longest, then the first. `BioBERT`'s "max context".
pub(crate) fn most_context(windows: &[Range<usize>], item: &Range<usize>) -> Option<usize> {
    let holding = windows.iter().enumerate().filter(|(_, window)| window.start <= item.start && item.end <= window.end);
    // Its score is min(left, right) + 0.01 x length; a hundred times that is a whole number.
    let score = |window: &Range<usize>| (item.start - window.start).min(window.end - item.end) * 100 + window.len();
    let mut best: Option<(usize, usize)> = None;
    for (index, window) in holding {
        if best.is_none_or(|(_, than)| score(window) > than) {
            best = Some((index, score(window)));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_everything_and_overlap() {
        assert_eq!(windows(10, 4, 3), [0..4, 3..7, 6..10]);
        assert_eq!(windows(11, 4, 3), [0..4, 3..7, 6..10, 9..11]);
        assert_eq!(windows(4, 4, 3).len(), 1);
        assert_eq!(windows(0, 4, 3).len(), 1, "an empty text has a window");
        assert_eq!(windows(9, 4, 4), [0..4, 4..8, 8..9]);
    }

    #[test]
    fn the_window_with_most_context_is_taken() {
        let windows = [0..6, 3..9, 6..12];
        let of = |start: usize| most_context(&windows, &(start..start + 1));
        assert_eq!(of(0), Some(0));
        assert_eq!(of(3), Some(0), "2 on the nearer side against 0");
        assert_eq!(of(4), Some(0), "1 and 1: the first");
        assert_eq!(of(5), Some(1), "2 against 0");
        assert_eq!(of(11), Some(2));
        assert_eq!(most_context(&windows, &(2..10)), None);
        assert_eq!(most_context(&[0..4, 1..6], &(2..3)), Some(1), "1 and 1: the longer");
    }
}
