//! What the user sees while it goes on.

use indicatif::{ProgressBar, ProgressStyle, style::TemplateError};

/// Towards a number that is known.
pub(crate) fn bar(all: u64) -> Result<ProgressBar, TemplateError> {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed}, {msg}")?;
    Ok(ProgressBar::new(all).with_style(style))
}

/// Towards one that is not.
pub(crate) fn counter(of: &str) -> Result<ProgressBar, TemplateError> {
    let template = format!("{{spinner}} {{pos}} {of}, {{elapsed}} {{msg}}");
    let style = ProgressStyle::with_template(&template)?;
    Ok(ProgressBar::new_spinner().with_style(style))
}
