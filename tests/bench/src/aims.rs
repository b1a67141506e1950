//! What the figures are to be, and whether they are.

use std::fmt;

/// All aims that were looked at, in order.
#[derive(Debug, Default)]
pub(crate) struct Aims(Vec<Aim>);

#[derive(Debug)]
struct Aim {
    what: String,
    bound: Bound,
    unit: &'static str,
    here: f64,
}

/// Where a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Under(f64),
}

impl Bound {
    fn is_kept(self, here: f64) -> bool {
        match self {
            Self::AtLeast(bound) => here >= bound,
            Self::AtMost(bound) => here <= bound,
            Self::Under(bound) => here < bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, bound) = match self {
            Self::AtLeast(bound) => ("at least", bound),
            Self::AtMost(bound) => ("at most", bound),
            Self::Under(bound) => ("under", bound),
        };
        write!(f, "{word} {}", Figure(*bound))
    }
}

/// As many digits as it takes to compare.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        let text = format!("{:.digits$}", self.0);
        let short = if digits == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
        f.write_str(short)
    }
}

impl Aims {
    pub(crate) fn add(&mut self, what: impl Into<String>, bound: Bound, unit: &'static str, here: f64) {
        self.0.push(Aim { what: what.into(), bound, unit, here });
    }
}

impl fmt::Display for Aims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<66} {:>18} {:>10}", "aims", "aim", "here")?;
        for Aim { what, bound, unit, here } in &self.0 {
            let mark = if bound.is_kept(*here) { "" } else { "  MISSED" };
            let aim = format!("{bound} {unit}");
            writeln!(f, "{what:<66} {:>18} {:>10}{mark}", aim.trim_end(), Figure(*here).to_string())?;
        }
        let missed = self.0.iter().filter(|aim| !aim.bound.is_kept(aim.here)).count();
        write!(f, "{missed} of {} missed", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_aim_is_marked_and_counted() {
        let mut aims = Aims::default();
        aims.add("enough", Bound::AtLeast(2500.0), "/s", 2500.0);
        aims.add("quick", Bound::Under(20.0), "ms", 20.0);
        aims.add("little", Bound::AtMost(0.3), "", 0.299);
        let text = aims.to_string();
        let marked: Vec<bool> = text.lines().skip(1).take(3).map(|line| line.ends_with("MISSED")).collect();
        assert_eq!(marked, [false, true, false], "{text}");
        assert!(text.contains("at least 2500 /s") && text.ends_with("1 of 3 missed"), "{text}");
    }
}
