//! The result: 80 columns, always in the same order.

use super::driver::{Case, Sample};

/// Collects what is over its budget while it prints.
#[derive(Default)]
pub struct Table {
    over: Vec<String>,
    judged: usize,
}

impl Table {
    /// Prints one group of rows. Differences are medians of the differences within a round, which
    /// a busy machine disturbs less than differences of medians.
    pub fn group(&mut self, title: &str, cases: &[Case<'_>], samples: &[Vec<Sample>]) {
        println!("\n{:<32}{:^26}{:^12}", "", "wall us", "CPU us");
        println!(
            "{title:<32}{:>6}{:>7}{:>7}{:>6}{:>6}{:>6}{:>10}",
            "med", "p95", "diff", "ratio", "med", "diff", "budget"
        );
        for (case, own) in cases.iter().zip(samples) {
            let wall = |sample: &Sample| sample.wall;
            let cpu = |sample: &Sample| sample.cpu;
            let name = case.name;
            let (med, p95) = (quantile(own, 0.5, wall), quantile(own, 0.95, wall));
            print!("{name:<32}{med:>6.0}{p95:>7.0}");
            let Some(at) = case.baseline else {
                println!("{:>7}{:>6}{:>6.0}", "", "", quantile(own, 0.5, cpu));
                continue;
            };
            let base = &samples[at];
            let (wall, ratio) = (beyond(own, base, wall), med / quantile(base, 0.5, wall));
            let (used, more) = (quantile(own, 0.5, cpu), beyond(own, base, cpu));
            print!("{wall:>7.0}{ratio:>6.2}{used:>6.0}{more:>6.0}");
            match case.budget {
                Some(budget) => {
                    let mark = self.judge(name, more > budget, format!("{more:.0} us CPU"));
                    println!("{:>10}", format!("{mark}{budget:.0}"));
                }
                None => println!(),
            }
        }
    }

    /// The same without CPU time, which where an engine's daemons work tells nothing; in
    /// milliseconds.
    pub fn wall_group(&mut self, title: &str, cases: &[Case<'_>], samples: &[Vec<Sample>]) {
        println!("\n{:<44}{:^28}", "", "wall ms");
        println!("{title:<44}{:>7}{:>7}{:>7}{:>7}", "med", "p95", "diff", "ratio");
        for (case, own) in cases.iter().zip(samples) {
            let wall = |sample: &Sample| sample.wall / 1e3;
            let (med, p95) = (quantile(own, 0.5, wall), quantile(own, 0.95, wall));
            print!("{:<44}{med:>7.1}{p95:>7.1}", case.name);
            match case.baseline.map(|at| &samples[at]) {
                Some(base) => {
                    let (more, ratio) = (beyond(own, base, wall), med / quantile(base, 0.5, wall));
                    println!("{more:>7.1}{ratio:>7.2}");
                }
                None => println!(),
            }
        }
    }

    /// Prints one number with its budget.
    pub fn figure(&mut self, name: &str, value: u64, budget: u64, unit: &str) {
        let shown = format!("{value}{unit}");
        let mark = self.judge(name, value > budget, shown.clone());
        println!("{name:<44}{shown:>12}{:>24}", format!("{mark}{budget}{unit}"));
    }

    /// Notes what has no number.
    pub fn fault(&mut self, text: &str) {
        self.judge(text, true, "a fault".into());
    }

    fn judge(&mut self, name: &str, is_over: bool, value: String) -> &'static str {
        self.judged += 1;
        if is_over {
            self.over.push(format!("{name} ({value})"));
        }
        if is_over { "OVER " } else { "" }
    }

    /// The last lines.
    pub fn verdict(&self) {
        if self.over.is_empty() {
            println!("Within budget: all {} figures that have one", self.judged);
        } else {
            println!("OVER BUDGET, {} of {}:", self.over.len(), self.judged);
            self.over.iter().for_each(|what| println!("  {what}"));
        }
    }
}

pub fn quantile(samples: &[Sample], q: f64, of: impl Fn(&Sample) -> f64) -> f64 {
    quantile_of(samples.iter().map(of).collect(), q)
}

pub fn quantile_of(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}

fn beyond(own: &[Sample], base: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    quantile_of(own.iter().zip(base).map(|(own, base)| of(own) - of(base)).collect(), 0.5)
}
