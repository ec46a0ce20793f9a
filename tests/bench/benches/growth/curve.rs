//! Pictures of curves.

use cachesweeper_bench::Failure;
use cachesweeper_bench::shape::Curve;
use plotters::prelude::*;

use crate::Cli;

/// Told apart by the colour-blind too (Okabe and Ito, 2008).
const COLORS: [RGBColor; 4] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

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
    let (xs, mut ys) = (range(&mut points().map(|point| point.0)), range(&mut points().map(|point| point.1)));
    // And for the words above.
    ys.end *= (ys.end / ys.start).powf(0.08 * curves.len() as f64);
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(xs.log_scale(), ys.log_scale())?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_desc(axes.0).y_desc(axes.1).axis_desc_style(("sans-serif", 16));
    mesh.label_style(("sans-serif", 14)).x_label_formatter(&ToString::to_string).y_label_formatter(&ToString::to_string).draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let series = chart.draw_series(LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)))?;
        series.label(format!("{}: {}", curve.name, curve.shape()));
        series.legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).label_font(("sans-serif", 14)).draw()?;
    area.present()?;
    Ok(())
}
