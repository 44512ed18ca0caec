//! Events to rows: one schema, total order, and the exchange formats.
