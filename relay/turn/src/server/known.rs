//! The comprehension-required attributes that this server understands.

use sterna_stun::{attr::AttributeType, message::Method};

/// Tells whether a request with this attribute is understood (RFC 8489 §6.3.1).
///
/// What is understood and out of place is ignored (RFC 8489 §6.3).
pub(super) fn is_known(method: Method, type_: AttributeType) -> bool {
    match type_ {
        // Of RFC 5780: see `is_of_discovery`. A token of RFC 7635 is understood where there are keys
        // for it.
        AttributeType::CHANGE_REQUEST
        | AttributeType::PADDING
        | AttributeType::RESPONSE_PORT
        | AttributeType::ACCESS_TOKEN => false,
        // RFC 6062 §6.2.1: where it is not asked for, it is as unknown as the method.
        AttributeType::CONNECTION_ID => method == Method::CONNECTION_BIND,
        // Reserved since RFC 5766; early clients still send BANDWIDTH.
        AttributeType(0x0010) => true,
        _ => type_.is_known(),
    }
}

/// Tells whether a Binding with this attribute is understood where discovery is served (RFC 5780
/// §7).
pub(super) fn is_of_discovery(type_: AttributeType) -> bool {
    matches!(
        type_,
        AttributeType::CHANGE_REQUEST | AttributeType::PADDING | AttributeType::RESPONSE_PORT
    )
}
