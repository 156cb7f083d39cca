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
//!
//! | | what it departs in |
//! |---|---|
//! | [`GenesysCloud`] | its token endpoint throttles with 400; a 401 may be about an address |
//! | [`Github`] | limits answer 403; a new token is refused for some seconds |
//! | [`Hubspot`] | a 401 is not about the token; limits tell their window only |
//! | [`MicrosoftGraph`] | claims challenges; pauses that grow |
//! | [`Salesforce`] | no lifetime; errors in arrays; quotas for a day |
//! | [`Shopify`] | the token has a header of its own |
//! | [`Zendesk`] | a renewal ends the token before it; older limit fields |

mod api;
mod error_json;
mod genesys_cloud;
mod github;
mod hubspot;
mod microsoft_graph;
mod salesforce;
mod shopify;
mod zendesk;

pub use self::{
    genesys_cloud::{GenesysCloud, RegionError},
    github::Github,
    hubspot::Hubspot,
    microsoft_graph::MicrosoftGraph,
    salesforce::Salesforce,
    shopify::Shopify,
    zendesk::Zendesk,
};
