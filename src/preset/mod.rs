//! Vendors: what their documentation says, as settings of this crate.
//!
//! ```
//! use tower_outbound::preset::GenesysCloud;
//!
//! let cloud = GenesysCloud::new("mypurecloud.ie")?;
//! assert_eq!(cloud.api_url(), "https://api.mypurecloud.ie");
//! # Ok::<_, tower_outbound::preset::RegionError>(())
//! ```
//!
//! A preset is data on top of the public API; whatever one does, you can do for another vendor.

mod genesys_cloud;

pub use self::genesys_cloud::{GenesysCloud, RegionError};
