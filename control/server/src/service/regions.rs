//! Regions.

use sterna_control_api::audit::Page;
use sterna_control_api::region::{Location, PatchRegion, Region};

use super::callers::Person;
use super::refusal::Refusal;
use super::{Service, texts};
use crate::store::PageRequest;

impl Service {
    /// Regions, by code, a page at a time.
    pub(crate) fn list_regions(&self, page: &PageRequest) -> Page<Region> {
        let view = self.view.load();
        let after = |code: &str| {
            page.after
                .as_ref()
                .is_none_or(|after| code > after.as_str())
        };
        let mut regions = view.regions.iter().filter(|region| after(&region.code));
        let items: Vec<_> = regions
            .by_ref()
            .take(page.limit as usize)
            .map(Region::from)
            .collect();
        let more = regions.next().is_some();
        let next = items.last().filter(|_| more).map(|last| last.code.clone());
        Page { items, next }
    }

    /// Makes a region.
    pub(crate) async fn create_region(
        &self,
        person: &Person,
        region: &Region,
    ) -> Result<Region, Refusal> {
        texts::region_code("code", &region.code)?;
        check(Some(&region.name), region.location, Some(region.weight))?;
        let act = person.act(self.now());
        let made = self.answered(self.store.create_region(region, &act).await)?;
        self.reload().await?;
        Ok(Region::from(&made))
    }

    /// Changes a region.
    pub(crate) async fn patch_region(
        &self,
        person: &Person,
        code: &str,
        patch: &PatchRegion,
    ) -> Result<Region, Refusal> {
        check(patch.name.as_deref(), patch.location, patch.weight)?;
        let act = person.act(self.now());
        let changed = self.answered(self.store.patch_region(code, patch, &act).await)?;
        self.reload().await?;
        Ok(Region::from(&changed))
    }

    /// Takes a region away.
    pub(crate) async fn delete_region(&self, person: &Person, code: &str) -> Result<(), Refusal> {
        let act = person.act(self.now());
        self.answered(self.store.delete_region(code, &act).await)?;
        self.reload().await
    }
}

fn check(name: Option<&str>, at: Option<Location>, weight: Option<u16>) -> Result<(), Refusal> {
    name.map_or(Ok(()), |name| texts::name("name", name))?;
    weight.map_or(Ok(()), |weight| {
        texts::within("weight", weight.into(), 1, 1000)
    })?;
    let Some(at) = at else { return Ok(()) };
    if !(-90.0..=90.0).contains(&at.latitude) {
        return Err(Refusal::malformed("location.latitude: -90 to 90"));
    }
    if !(-180.0..=180.0).contains(&at.longitude) {
        return Err(Refusal::malformed("location.longitude: -180 to 180"));
    }
    Ok(())
}
