use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;

/// One copy of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// Parts of the new table just after the copy.
    pub(crate) parts: usize,
}

/// The median; of an even number, the upper one of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that such a share of them does not exceed.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The median of the pairs' ratios: what was slow for both of a pair cancels out.
pub(crate) fn ratio(pairs: &[(Sample, Sample)]) -> f64 {
    median(pairs.iter().map(|(plain, teal)| teal.seconds / plain.seconds))
}

/// One of the one and one of the other; which of them comes first alternates, for the second finds warm what the first has
/// read.
pub(crate) fn pair<T>(
    number: usize,
    plain: impl FnOnce() -> Outcome<T>,
    teal: impl FnOnce() -> Outcome<T>,
) -> Outcome<(T, T)> {
    if number.is_multiple_of(2) {
        let plain = plain()?;
        return Ok((plain, teal()?));
    }
    let teal = teal()?;
    Ok((plain()?, teal))
}

/// What a figure must be, and whether it is.
pub(crate) fn at_most(bound: f64, figure: f64) -> String {
    let held = if figure <= bound { "held" } else { "not held" };
    format!("at most {bound}: {held}")
}

/// The most memory that a program had resident, as the kernel counts it.
pub(crate) fn peak_kib(command: &mut Command) -> Outcome<u64> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        if let Ok(text) = std::fs::read_to_string(Path::new(&status)) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    match child.wait()?.success() {
        true => Ok(peak),
        false => Err(format!("{command:?} failed").into()),
    }
}
