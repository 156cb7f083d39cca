//! What a tenant costs: memory of a cache that has a token, and of one that was only asked for, for ten
//! thousand of them. `cargo bench --bench tenants`.

use std::{alloc::System, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_outbound::{
    mark::Tenant,
    token::{Grant, KeyedTokenCache, TokenCache, source_fn},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TENANTS: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let tenants: Vec<_> = (0..TENANTS)
        .map(|number| Tenant::new(format!("tenant-{number}")))
        .collect();
    let tokens = KeyedTokenCache::new(|tenant: &Tenant| {
        let tenant = tenant.clone();
        TokenCache::new(source_fn(move |_| {
            let token = format!("a token of forty characters for {}", tenant.as_str());
            async { Ok(Grant::new(token).expires_in(Duration::from_secs(3600))) }
        }))
    });
    println!("{TENANTS} tenants                     bytes each");
    let region = Region::new(ALLOCATOR);
    for tenant in &tenants {
        drop(tokens.of(tenant));
    }
    println!("asked for                    {:>12}", held(&region));
    runtime.block_on(async {
        for tenant in &tenants {
            tokens.of(tenant).token().await.expect("the source grants");
        }
    });
    println!("with a token                 {:>12}", held(&region));
    assert_eq!(tokens.len(), TENANTS);
}

/// Bytes that are allocated still, for each tenant.
fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
        / TENANTS
}
