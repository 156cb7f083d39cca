//! The plot: calls by clients, and time by clients, one line for each policy.

use std::{error::Error, path::Path};

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::{
        Shift,
        combinators::IntoLogRange,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::PathElement,
    series::LineSeries,
    style::{BLACK, Color, RGBColor, ShapeStyle, WHITE},
};

use super::{Means, POLICIES, Row};

type Drawn = Result<(), Box<dyn Error>>;

pub fn draw(path: &Path, rows: &[Row]) -> Drawn {
    let area = SVGBackend::new(path, (2 * WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(WIDTH);
    let calls = 0.0..9_000.0;
    let (upper, lower) = (
        SeriesLabelPosition::UpperLeft,
        SeriesLabelPosition::LowerRight,
    );
    panel(&left, "calls", calls, upper, rows, |means| means.calls)?;
    // Without jitter it takes ten times as long: only a logarithm shows the others, too.
    let time = (100.0..200_000.0).log_scale();
    panel(&right, "time, ms", time, lower, rows, |means| {
        means.time.as_secs_f64() * 1000.0
    })?;
    area.present()?;
    Ok(())
}

fn panel<Y>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    range: Y,
    legend: SeriesLabelPosition,
    rows: &[Row],
    value: fn(&Means) -> f64,
) -> Drawn
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0_u32..200, range)?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .light_line_style(WHITE)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for (n, ((name, _), color)) in POLICIES.iter().zip(COLORS).enumerate() {
        let style = ShapeStyle::from(color).stroke_width(2);
        let points = rows.iter().map(|row| (row.clients, value(&row.means[n])));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// Told apart without red and green.
const COLORS: [RGBColor; POLICIES.len()] = [
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
];

const WIDTH: u32 = 500;
const HEIGHT: u32 = 420;
