// Client of a Hereabouts engine (docs/protocol.md): see README.md.
export { Client, type ClientSettings, type Fix, type Page, type PublishOptions } from "./client.js";
export { Core } from "./core.js";
export type { Output, Published } from "./effects.js";
export {
  ClosedError, DuplicateError, HereaboutsError, LostError, NoTokenError, QueueFullError, RefusedError,
} from "./errors.js";
export type {
  Change, ChannelEvent, Connecting, ConnectionEvent, Counted, Ended, Ephemeral, Gap, Meta, Online, Position, Presence,
  Publication, Rows, Sampled, Stopped, Subscribed, Waiting, Warned,
} from "./events.js";
export { DEFAULTS, type Options, type Subscribing } from "./options.js";
export type { Fetch, WebSocketClass, WebSocketLike } from "./platform.js";
export { Subscription, type Lagged } from "./subscription.js";
export * as codec from "./codec.js";
