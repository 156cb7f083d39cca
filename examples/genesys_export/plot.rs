//! The chart: answers and refusals a second, over time.

use std::path::Path;

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea,
    element::PathElement,
    series::LineSeries,
    style::{BLACK, Color, RGBColor, ShapeStyle, WHITE},
};
use tower::BoxError;

use crate::timeline::{Span, Timeline};

pub(crate) fn draw(path: &Path, timeline: &Timeline) -> Result<(), BoxError> {
    let spans = timeline.spans();
    let length = spans.length.as_secs_f64();
    let most = spans.counts.iter().map(|span| span.done.max(span.refused));
    let highest = f64::from(most.max().unwrap_or(0).max(1)) / length;
    let end = length * spans.counts.len().max(1) as f64;

    let area = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("answers a second", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..highest * HEADROOM)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .light_line_style(WHITE)
        .draw()?;
    for (name, color, value) in SERIES {
        let style = ShapeStyle::from(color).stroke_width(2);
        let steps = spans.counts.iter().enumerate().flat_map(|(n, span)| {
            let height = f64::from(value(span)) / length;
            let from = length * n as f64;
            [(from, height), (from + length, height)]
        });
        chart
            .draw_series(LineSeries::new(steps, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

type Series = (&'static str, RGBColor, fn(&Span) -> u32);

/// Told apart without red and green.
const SERIES: [Series; 2] = [
    ("done", RGBColor(0, 114, 178), |span| span.done),
    ("refused (429)", RGBColor(230, 159, 0), |span| span.refused),
];

const WIDTH: u32 = 800;
const HEIGHT: u32 = 360;

/// Room for the legend.
const HEADROOM: f64 = 1.25;
