//! Curves, and their shape in words.

/// A measured curve.
#[derive(Debug)]
pub struct Curve {
    /// What it is of.
    pub name: String,
    /// Its points, from left to right; both coordinates above 0.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve without points.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), points: Vec::new() }
    }

    /// Adds a point at its right end.
    pub fn add(&mut self, x: usize, y: f64) {
        self.points.push((x as f64, y));
    }

    /// The slope of the upper half, both axes logarithmic: 0 is constant, 1 is linear, 2 is the square.
    pub fn slope(&self) -> f64 {
        let upper = &self.points[self.points.len() / 2..];
        let logs: Vec<(f64, f64)> = upper.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let (over, under) =
            logs.iter().fold((0.0, 0.0), |(over, under), point| (over + (point.0 - x) * (point.1 - y), under + (point.0 - x).powi(2)));
        over / under
    }

    /// The shape in words, with the slope that it is told by.
    pub fn shape(&self) -> String {
        let slope = self.slope();
        let word = match slope {
            slope if slope.is_nan() => return "too few points".into(),
            slope if slope < -0.15 => "falling",
            slope if slope <= 0.15 => "constant",
            slope if slope < 0.85 => "between constant and linear",
            slope if slope <= 1.15 => "linear",
            _ => "more than linear",
        };
        format!("{word} (slope {slope:.2})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(y: impl Fn(f64) -> f64) -> String {
        let mut curve = Curve::new("c");
        [1, 3, 10, 30, 100, 300, 1_000].into_iter().for_each(|x| curve.add(x, y(x as f64)));
        curve.shape()
    }

    #[test]
    fn shapes_are_told_by_the_upper_half() {
        assert_eq!(shape(|x| 5.0 + 100.0 * f64::from(x < 20.0)), "constant (slope 0.00)");
        assert_eq!(shape(|x| 0.5 * x + 0.5 * f64::from(x < 20.0)), "linear (slope 1.00)");
        assert_eq!(shape(f64::sqrt), "between constant and linear (slope 0.50)");
        assert_eq!(shape(|x| x * x), "more than linear (slope 2.00)");
        assert_eq!(shape(|x| 1.0 / x), "falling (slope -1.00)");
        assert_eq!(Curve { name: "one".into(), points: vec![(1.0, 1.0)] }.shape(), "too few points");
    }
}
