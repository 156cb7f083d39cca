//! Looking for an error of one type among the causes of another.

use std::error::Error;

/// The first error of type `T` in `error` and its causes.
///
/// Layers in between wrap the errors that they pass on, so ours is seldom the outermost.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and its causes, from the outside in.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
