//! Plots as SVG.

use std::{error::Error, ops::Range};

use plotters::{
    coord::{ranged1d::ValueFormatter, types::RangedCoordf64},
    prelude::*,
};

use crate::trial::storm::{ARRIVING, DOWN, END, Storm, UP};

/// A line with a name.
pub struct Line {
    pub name: String,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
}

/// How something is drawn: a colour, and how wide.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// What is possible.
    Ideal,
    /// This crate.
    Ours,
    /// The others, by number.
    Other(usize),
}

/// A panel of lines.
pub struct Panel {
    pub title: String,
    pub x: (&'static str, Range<f64>),
    pub y: (&'static str, Range<f64>),
    pub lines: Vec<Line>,
    /// Where the lines leave room for their names.
    pub names_at: SeriesLabelPosition,
}

/// Bars in groups: a group for each client, a bar for each number of workers.
pub struct Bars {
    pub title: String,
    pub workers: Vec<usize>,
    pub clients: Vec<BarGroup>,
}

pub struct BarGroup {
    pub name: String,
    /// Refused per success, and how many requests were lost, for each number of workers.
    pub bars: Vec<(f64, usize)>,
}

type Drawn = Result<(), Box<dyn Error>>;

/// Panels side by side.
///
/// # Errors
/// It cannot be drawn.
pub fn panels(panels: &[Panel]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let width = 460 * panels.len().max(1) as u32;
        let root = SVGBackend::with_string(&mut svg, (width.max(720), 360)).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
            draw_panel(area, panel)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The goodput of a server that was down, under each client.
pub fn storm(title: &str, storms: &[(Look, &Storm)]) -> Panel {
    let seconds = END.as_secs() as usize;
    // Three seconds together, so that chance does not hide the line.
    let smooth = |storm: &Storm, at: usize| storm.goodput.between(at, at + 3) as f64 / 3.0;
    let lines = storms.iter().map(|(look, storm)| Line {
        name: storm.client.to_owned(),
        look: *look,
        points: (0..seconds - 3)
            .step_by(3)
            .map(|at| (at as f64 + 1.5, smooth(storm, at)))
            .collect(),
    });
    let (down, up) = (DOWN.as_secs_f64(), UP.as_secs_f64());
    let ideal = Line {
        name: "what arrives, while it is up".to_owned(),
        look: Look::Ideal,
        points: vec![
            (0.0, ARRIVING),
            (down, ARRIVING),
            (down, 0.0),
            (up, 0.0),
            (up, ARRIVING),
            (seconds as f64, ARRIVING),
        ],
    };
    Panel {
        title: title.to_owned(),
        x: ("seconds", 0.0..seconds as f64),
        y: ("requests processed per second", 0.0..140.0),
        lines: std::iter::once(ideal).chain(lines).collect(),
        names_at: SeriesLabelPosition::UpperRight,
    }
}

/// Bars on a scale of powers of ten; above a bar, the requests that were lost.
///
/// # Errors
/// It cannot be drawn.
pub fn bars(bars: &Bars) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (800, 380)).into_drawing_area();
        root.fill(&WHITE)?;
        draw_bars(&root, bars)?;
        root.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, font(15))
        .margin(10)
        .margin_right(18)
        .x_label_area_size(38)
        .y_label_area_size(56)
        .build_cartesian_2d(panel.x.1.clone(), panel.y.1.clone())?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(panel.x.0)
        .y_desc(panel.y.0)
        .axis_desc_style(font(13))
        .label_style(font(11))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.6));
    mesh.draw()?;
    for line in &panel.lines {
        let style = line.look.style();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(panel.names_at.clone())
        .label_font(font(12))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

fn draw_bars(area: &Area<'_>, bars: &Bars) -> Drawn {
    let groups = bars.clients.len();
    let highest = bars
        .clients
        .iter()
        .flat_map(|group| &group.bars)
        .map(|(height, _)| *height);
    let top = highest.fold(1.0, f64::max) * 4.0;
    let x = Named {
        range: (0.0..groups as f64).into(),
        span: 0.0..groups as f64,
        names: bars
            .clients
            .iter()
            .map(|group| group.name.clone())
            .collect(),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(&bars.title, font(15))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d(x, (LEAST_BAR..top).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_desc("refused per success")
        .axis_desc_style(font(13))
        .label_style(font(12))
        .y_label_formatter(&|value| format!("{value}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.6))
        .draw()?;
    let count = bars.workers.len();
    let width = 0.84 / count as f64;
    for (index, workers) in bars.workers.iter().enumerate() {
        let colour = SHADES[index % SHADES.len()];
        let left = |group: usize| group as f64 + 0.08 + index as f64 * width;
        let of_group = |group: &BarGroup| group.bars.get(index).copied().unwrap_or_default();
        let rectangles = bars.clients.iter().enumerate().map(|(number, group)| {
            let (height, _) = of_group(group);
            let corners = [
                (left(number), LEAST_BAR),
                (left(number) + 0.92 * width, height.max(LEAST_BAR)),
            ];
            Rectangle::new(corners, colour.filled())
        });
        chart
            .draw_series(rectangles)?
            .label(format!("{workers} workers"))
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
        let lost = bars
            .clients
            .iter()
            .enumerate()
            .filter_map(|(number, group)| {
                let (height, lost) = of_group(group);
                let at = (left(number), height.max(LEAST_BAR) * 1.45);
                (lost > 0).then(|| Text::new(format!("-{lost}"), at, font(11).color(&RED_OF_LOSS)))
            });
        chart.draw_series(lost)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(font(12))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

impl Look {
    fn style(self) -> ShapeStyle {
        match self {
            Look::Ideal => BLACK.mix(0.35).stroke_width(5),
            Look::Ours => OURS.stroke_width(3),
            Look::Other(number) => OTHERS[number % OTHERS.len()].stroke_width(2),
        }
    }
}

/// An axis with a name in the middle of each unit.
struct Named {
    range: RangedCoordf64,
    span: Range<f64>,
    names: Vec<String>,
}

impl Ranged for Named {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        (0..self.names.len())
            .map(|index| index as f64 + 0.5)
            .collect()
    }

    fn range(&self) -> Range<f64> {
        self.span.clone()
    }
}

impl ValueFormatter<f64> for Named {
    fn format_ext(&self, value: &f64) -> String {
        self.names.get(*value as usize).cloned().unwrap_or_default()
    }
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK.mix(0.85))
}

/// The foot of the scale.
const LEAST_BAR: f64 = 0.001;

const OURS: RGBColor = RGBColor(0, 90, 181);
/// Told apart by those who do not see red and green, too (Okabe and Ito).
const OTHERS: [RGBColor; 4] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];
const SHADES: [RGBColor; 4] = [
    RGBColor(158, 202, 225),
    RGBColor(66, 146, 198),
    RGBColor(8, 69, 148),
    RGBColor(3, 19, 60),
];
const RED_OF_LOSS: RGBColor = RGBColor(190, 30, 30);
