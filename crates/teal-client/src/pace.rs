//! How long the users' statements take, where every one of them passes through this process.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Of more statements the oldest are forgotten; their times would change little.
const MOST: usize = 4096;

/// The statements that have ended lately, the last of them at the end.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    ended: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Pace {
    /// Runs a user's statement and takes its time.
    pub(crate) fn time<T>(&self, statement: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let outcome = statement();
        self.took(began);
        outcome
    }

    pub(crate) fn took(&self, began: Instant) {
        let now = Instant::now();
        let mut ended = self.ended.lock();
        if ended.len() >= MOST {
            ended.pop_front();
        }
        ended.push_back((now, now - began));
    }

    /// What those took that have ended within this time.
    pub(crate) fn within(&self, time: Duration) -> Vec<Duration> {
        let ended = self.ended.lock();
        let recent = ended.iter().rev().take_while(|(at, _)| at.elapsed() <= time);
        recent.map(|(_, took)| *took).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ended_lately_counts() {
        let pace = Pace::default();
        assert_eq!(pace.time(|| 7), 7);
        assert_eq!(pace.within(Duration::from_secs(60)).len(), 1);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        pace.took(long_ago);
        let times = pace.within(Duration::from_secs(60));
        assert!(times[0] >= Duration::from_secs(5), "{times:?}");
        std::thread::sleep(Duration::from_millis(2));
        assert!(pace.within(Duration::from_millis(1)).is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let pace = Pace::default();
        for _ in 0..MOST + 10 {
            pace.took(Instant::now());
        }
        assert_eq!(pace.within(Duration::from_secs(60)).len(), MOST);
    }
}
