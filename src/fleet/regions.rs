//! `sterna regions …`: where nodes are.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::json;
use sterna_control_api::region::{Location, PatchRegion, Region};
use sterna_control_client::Filter;

use super::ServiceArgs;
use crate::Failure;

/// `sterna regions …`
#[derive(Debug, Subcommand)]
pub(crate) enum RegionsCommand {
    /// Lists the regions.
    #[command(after_help = "Example:\n  sterna regions list")]
    List(ListArgs),
    /// Adds a region.
    #[command(
        after_help = "Example:\n  sterna regions add eu-central --name Frankfurt --location 50.1,8.7"
    )]
    Add(AddArgs),
    /// Changes a region's name, location or weight.
    #[command(after_help = "Example:\n  sterna regions set eu-central --weight 200")]
    Set(SetArgs),
    /// Removes a region that has no nodes.
    #[command(after_help = "Example:\n  sterna regions remove eu-central")]
    Remove(RemoveArgs),
}

/// Which regions.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    control: ServiceArgs,
}

/// A new region.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Its code: 1 to 32 of a-z, 0-9 and '-'. It never changes.
    code: String,
    /// Its name, for people; the code when left out.
    #[arg(long)]
    name: Option<String>,
    /// Where it is, in degrees: latitude,longitude. Devices without measurements begin near themselves.
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    location: Option<Degrees>,
    /// How much of the load it should take beside others.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    weight: u16,
    #[command(flatten)]
    control: ServiceArgs,
}

/// What changes of a region.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// Its code.
    code: String,
    /// A new name.
    #[arg(long, required_unless_present_any = ["location", "weight"])]
    name: Option<String>,
    /// A new location, in degrees.
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    location: Option<Degrees>,
    /// A new weight.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    weight: Option<u16>,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which region.
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Its code.
    code: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// A place on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Degrees(Location);

impl FromStr for Degrees {
    type Err = &'static str;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let read = |text: &str, max: f64| {
            let degrees: f64 = text.trim().parse().ok()?;
            (-max..=max).contains(&degrees).then_some(degrees)
        };
        given
            .split_once(',')
            .and_then(|(latitude, longitude)| {
                Some(Self(Location {
                    latitude: read(latitude, 90.0)?,
                    longitude: read(longitude, 180.0)?,
                }))
            })
            .ok_or("a location looks like 50.1,8.7: latitude (-90 to 90), longitude (-180 to 180)")
    }
}

pub(super) async fn run(command: &RegionsCommand) -> Result<(), Failure> {
    match command {
        RegionsCommand::List(args) => show_all(args).await,
        RegionsCommand::Add(args) => {
            let service = args.control.service()?;
            let region = Region {
                code: args.code.clone(),
                name: args.name.clone().unwrap_or_else(|| args.code.clone()),
                location: args.location.map(|Degrees(location)| location),
                weight: args.weight,
            };
            let region = service.got(service.client.add_region(&region).await)?;
            let code = &region.code;
            let told = format!(
                "region {code} is there; `sterna token join --region {code}` lets nodes join it"
            );
            service.print_done(&told, &region)
        }
        RegionsCommand::Set(args) => {
            let service = args.control.service()?;
            let patch = PatchRegion {
                name: args.name.clone(),
                location: args.location.map(|Degrees(location)| location),
                weight: args.weight,
            };
            let region = service.got(service.client.patch_region(&args.code, &patch).await)?;
            service.print_done(&format!("region {} is changed", region.code), &region)
        }
        RegionsCommand::Remove(args) => {
            let service = args.control.service()?;
            service.got(service.client.remove_region(&args.code).await)?;
            let told = format!("region {} is removed", args.code);
            service.print_done(&told, &json!({ "code": args.code, "removed": true }))
        }
    }
}

async fn show_all(args: &ListArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let page = async |filter: Filter| service.client.regions(&filter).await;
    let regions: Vec<Region> = service.all(&Filter::default(), None, page).await?;
    let header = ["code", "name", "weight", "location"];
    service.print_list(
        &regions,
        "no regions (`sterna regions add` makes one)",
        &header,
        |region| {
            let location = region
                .location
                .map(|place| format!("{},{}", place.latitude, place.longitude));
            vec![
                region.code.clone(),
                region.name.clone(),
                region.weight.to_string(),
                location.unwrap_or_else(|| "-".to_owned()),
            ]
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_two_numbers_of_degrees() {
        let read = |text: &str| {
            text.parse::<Degrees>()
                .ok()
                .map(|Degrees(place)| (place.latitude, place.longitude))
        };
        assert_eq!(read("-33.9,151.2"), Some((-33.9, 151.2)));
        for wrong in ["", "1", "91,0", "0,181", "x,y", "NaN,0", "1,2,3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
