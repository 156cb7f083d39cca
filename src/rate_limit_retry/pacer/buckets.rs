//! The buckets that would have let through, and refused, just what the server did.

use super::history::Trail;

/// For each size that a bucket may have, the rates that what was seen allows for.
///
/// One stretch between two refusals leaves many: a large bucket with a low rate does the same as a
/// small one with a high rate. Stretches of another shape leave others, so two or three of them tell
/// both, to a fraction of a request.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    /// In ascending order; each stands for those from its size to below the next.
    sizes: Vec<Size>,
    /// Larger ones do as the endless one.
    largest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    burst: f64,
    /// In requests a second.
    least: f64,
    most: f64,
}

impl Buckets {
    /// Those that would have done this, if each request arrived up to so many seconds earlier or
    /// later.
    pub(super) fn of(trail: &Trail, jitter: f64) -> Self {
        let rates = |burst: f64, largest: f64| {
            let (least, most) = trail.rates(burst, largest, jitter);
            Size { burst, least, most }
        };
        let endless = rates(f64::INFINITY, f64::INFINITY);
        let (mut sizes, mut burst) = (Vec::new(), 1.0);
        let mut is_full = true;
        while is_full && burst < trail.requests() + 2.0 {
            let next = next(burst);
            let size = rates(burst, next - 1.0);
            sizes.push(size);
            // One that is larger never is.
            is_full = (size.least, size.most) != (endless.least, endless.most);
            burst = next;
        }
        sizes.push(endless);
        sizes.retain(|size| size.least <= size.most && size.least.is_finite());
        Self {
            sizes,
            largest: burst,
        }
    }

    /// Those that would have done both. What is known for longer may not be true to the letter.
    pub(super) fn and(&self, newer: &Buckets) -> Buckets {
        let longer = if self.largest < newer.largest {
            newer
        } else {
            self
        };
        let sizes = longer.sizes.iter().filter_map(|size| {
            let burst = size.burst;
            let (known, newer) = (self.of_size(burst)?, newer.of_size(burst)?);
            let least = newer.least.max(known.least / DRIFT);
            let most = newer.most.min(known.most * DRIFT);
            (least <= most).then_some(Size { burst, least, most })
        });
        Buckets {
            sizes: sizes.collect(),
            largest: longer.largest,
        }
    }

    fn of_size(&self, burst: f64) -> Option<Size> {
        let burst = if burst < self.largest {
            burst
        } else {
            f64::INFINITY
        };
        self.sizes.iter().find(|size| size.burst == burst).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The least and the greatest rate, and the smallest size; nothing where any size would do.
    pub(super) fn common(&self) -> Option<(f64, f64, f64)> {
        let smallest = self.sizes.first()?.burst;
        let least = self.sizes.iter().map(|size| size.least);
        let most = self.sizes.iter().map(|size| size.most);
        smallest.is_finite().then_some((
            least.fold(f64::INFINITY, f64::min),
            most.fold(0.0, f64::max),
            smallest,
        ))
    }
}

/// Small ones are told apart to the request, large ones to a tenth.
fn next(burst: f64) -> f64 {
    (burst + 1.0).max((burst * 1.1).floor())
}

/// So much a limit may change from one refusal to the next, and clocks may differ.
const DRIFT: f64 = 1.001;

#[cfg(test)]
mod tests;
