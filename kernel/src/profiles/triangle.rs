//! The chain ladder on one triangle: development factors, fitted increments, residuals, dispersion.
//!
//! Source: England & Verrall, "Analytic and bootstrap estimates of prediction errors in claims reserving" (1999) and
//! "Stochastic claims reserving in general insurance" (2002); conventions of `BootChainLadder` in R's ChainLadder.
//! Only + − × ÷ √, in the order written here: the numbers decide bits.

use forgemesh_protocol::problem::{ProblemCode, Problems};

/// A cumulative triangle that can be projected, and what the bootstrap needs of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Triangle {
    /// Columns known of each origin period, never increasing.
    pub known: Vec<usize>,
    /// Development periods.
    pub width: usize,
    /// Chain-ladder reserve of each origin period, and their sum in that order.
    pub reserve_by_origin: Vec<f64>,
    pub reserve: f64,
    /// Fitted increment of each known cell, origin by origin.
    pub fitted: Vec<f64>,
    /// √|fitted|.
    pub root: Vec<f64>,
    /// Pearson residuals, scaled by √(n/(n−p)), of all cells in the same order.
    pub residuals: Vec<f64>,
    /// φ: the sum of squared unscaled residuals over n−p.
    pub dispersion: f64,
    /// Largest magnitude of a cumulative value.
    pub magnitude: f64,
}

const PATH: &str = "$.args.triangle";

impl Triangle {
    /// Fits the triangle; problems name the row, or the column, that stands in the way.
    pub fn fit(rows: &[Vec<f64>]) -> Result<Triangle, Problems> {
        let known: Vec<usize> = rows.iter().map(Vec::len).collect();
        check_shape(&known)?;
        let width = known[0];
        let factors = factors(rows, width)?;
        let mut fitted = Vec::new();
        let mut increments = Vec::new();
        for row in rows {
            fitted.extend(back_project(row, &factors));
            increments.extend((0..row.len()).map(|j| if j == 0 { row[0] } else { row[j] - row[j - 1] }));
        }
        let root: Vec<f64> = fitted.iter().map(|m: &f64| m.abs().sqrt()).collect();
        let mut residuals = Vec::with_capacity(root.len());
        for ((x, m), root) in increments.iter().zip(&fitted).zip(&root) {
            if *m == 0.0 && *x != 0.0 {
                let message = "a cell with a loss has a fitted increment of exactly zero, so no residual";
                let cure = "merge the development periods or origin periods around the zeros";
                return Err(Problems::one(ProblemCode::Inconsistent, PATH, message, cure));
            }
            residuals.push(if *m == 0.0 { 0.0 } else { (x - m) / root });
        }
        let cells = residuals.len();
        let freedom = (cells - (rows.len() + width - 1)) as f64;
        let dispersion = residuals.iter().fold(0.0, |sum, r| sum + r * r) / freedom;
        let adjust = (cells as f64 / freedom).sqrt();
        residuals.iter_mut().for_each(|r| *r *= adjust);
        let reserve_by_origin: Vec<f64> = rows.iter().map(|row| project(row, &factors)).collect();
        let reserve = reserve_by_origin.iter().fold(0.0, |sum, r| sum + r);
        let magnitude = rows.iter().flatten().fold(0.0, |m: f64, c| if c.abs() > m { c.abs() } else { m });
        let finite =
            [dispersion, reserve].iter().chain(&residuals).chain(&reserve_by_origin).all(|x| x.is_finite());
        if !finite {
            let message = "the development factors overflow";
            let cure = "check the triangle for cells that are off by orders of magnitude";
            return Err(Problems::one(ProblemCode::OutOfRange, PATH, message, cure));
        }
        Ok(Triangle {
            known,
            width,
            reserve_by_origin,
            reserve,
            fitted,
            root,
            residuals,
            dispersion,
            magnitude,
        })
    }

    /// Known cells.
    pub fn cells(&self) -> usize {
        self.fitted.len()
    }

    /// Cells to be projected.
    pub fn future_cells(&self) -> usize {
        self.known.iter().map(|known| self.width - known).sum()
    }
}

fn check_shape(known: &[usize]) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for (i, pair) in known.windows(2).enumerate() {
        if pair[1] > pair[0] {
            let message = format!("row {} has {} values, the row above it {}", i + 1, pair[1], pair[0]);
            let cure = "give each origin period no more development periods than the one before it";
            problems.add(ProblemCode::Inconsistent, format!("{PATH}[{}]", i + 1), message, cure);
        }
    }
    let (rows, width) = (known.len(), known.first().copied().unwrap_or(0));
    let cells: usize = known.iter().sum();
    if problems.is_empty() && known.iter().all(|&len| len == width) {
        let cure = "leave out the values that are not yet known: rows get shorter downwards";
        problems.add(
            ProblemCode::Inconsistent,
            PATH,
            "every row is complete: nothing is left to project",
            cure,
        );
    } else if problems.is_empty() && cells < rows + width {
        let message = format!("{cells} cells for {} parameters", rows + width - 1);
        let cure = "give more origin periods: a bootstrap needs more cells than parameters";
        problems.add(ProblemCode::Inconsistent, PATH, message, cure);
    }
    problems.into_result(())
}

/// Volume-weighted development factors: column sums over the origins that know both columns.
fn factors(rows: &[Vec<f64>], width: usize) -> Result<Vec<f64>, Problems> {
    let mut factors = Vec::with_capacity(width - 1);
    for j in 0..width - 1 {
        let both = rows.iter().filter(|row| row.len() > j + 1);
        let (from, to) = both.fold((0.0, 0.0), |(from, to), row| (from + row[j], to + row[j + 1]));
        if from == 0.0 || to == 0.0 {
            let column = if from == 0.0 { j } else { j + 1 };
            let message = format!("the losses of development period {column} sum to zero");
            let cure = "drop or merge that development period: no factor leads out of it";
            return Err(Problems::one(ProblemCode::Inconsistent, PATH, message, cure));
        }
        factors.push(to / from);
    }
    Ok(factors)
}

/// Fitted increments of one origin, from its latest value back.
fn back_project(row: &[f64], factors: &[f64]) -> Vec<f64> {
    let mut fitted = vec![0.0; row.len()];
    let mut cumulative = row[row.len() - 1];
    for j in (1..row.len()).rev() {
        let before = cumulative / factors[j - 1];
        fitted[j] = cumulative - before;
        cumulative = before;
    }
    fitted[0] = cumulative;
    fitted
}

/// The projected ultimate less the latest value.
fn project(row: &[f64], factors: &[f64]) -> f64 {
    let latest = row[row.len() - 1];
    factors[row.len() - 1..].iter().fold(latest, |c, f| c * f) - latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_cannot_be_projected_are_named() {
        let fit = |rows: &[&[f64]]| Triangle::fit(&rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
        let first = |result: Result<Triangle, Problems>| result.unwrap_err().iter().next().unwrap().clone();
        assert_eq!(first(fit(&[&[1., 2.], &[1., 2., 3.]])).path, "$.args.triangle[1]");
        assert!(first(fit(&[&[1., 2.], &[1., 2.]])).message.contains("nothing is left"));
        assert!(first(fit(&[&[1., 2.], &[1.]])).message.contains("parameters"));
        assert!(first(fit(&[&[1., 2., 3.], &[-1., 2.], &[1.]])).message.contains("sum to zero"));
    }

    #[test]
    fn a_triangle_that_fits_exactly_has_no_dispersion() {
        let rows = vec![vec![1., 2., 4.], vec![2., 4.], vec![4.]];
        let triangle = Triangle::fit(&rows).unwrap();
        assert_eq!(triangle.dispersion, 0.0);
        assert_eq!(triangle.reserve_by_origin, [0.0, 4.0, 12.0]);
    }
}
