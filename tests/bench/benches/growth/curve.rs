//! Curves: their shape in words, and their picture.

use cachesweeper_bench::Failure;
use plotters::prelude::*;

use crate::Cli;

/// A measured curve.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), points: Vec::new() }
    }

    pub(crate) fn add(&mut self, x: usize, y: f64) {
        self.points.push((x as f64, y));
    }

    /// The slope of the upper half, both axes logarithmic: 0 is constant, 1 is linear, 2 is the square.
    fn slope(&self) -> f64 {
        let upper = &self.points[self.points.len() / 2..];
        let logs: Vec<(f64, f64)> = upper.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let (over, under) =
            logs.iter().fold((0.0, 0.0), |(over, under), point| (over + (point.0 - x) * (point.1 - y), under + (point.0 - x).powi(2)));
        over / under
    }

    fn shape(&self) -> String {
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

/// Says the shapes, and draws the picture if pictures are wanted.
pub(crate) fn conclude(cli: &Cli, file: &str, title: &str, axes: (&str, &str), curves: &[Curve]) -> Result<(), Failure> {
    println!();
    for curve in curves {
        println!("* {}, {}: {}", axes.1, curve.name, curve.shape());
    }
    let Some(folder) = &cli.plots else { return Ok(()) };
    let path = folder.join(file);
    draw(&path, title, axes, curves).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("* drawn: {}", path.display());
    Ok(())
}

fn draw(path: &std::path::Path, title: &str, axes: (&str, &str), curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        // Room for a curve that is flat.
        (least / 1.5)..(most * 1.5)
    };
    let (xs, ys) = (range(&mut points().map(|point| point.0)), range(&mut points().map(|point| point.1)));
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(xs.log_scale(), ys.log_scale())?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc(axes.0).y_desc(axes.1).draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let series = chart.draw_series(LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)))?;
        series.label(format!("{}: {}", curve.name, curve.shape()));
        series.legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
