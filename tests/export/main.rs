//! The example `genesys_export`, killed on the way in each of its modes and resumed: no
//! conversation is lost or doubled, and what was done is not done again.

mod damage;
mod kills;
mod program;
