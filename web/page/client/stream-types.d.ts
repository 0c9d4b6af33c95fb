// The data and the options of the stream's client. Only type checkers read this file; browsers never load it.

/** One row of a board. `rank` is the position, 1..N with no two alike. */
export interface Entry {
  userId: string;
  username: string;
  score: number;
  rank: number;
  /** RFC 3339, UTC. */
  lastUpdated: string;
}

/** Names a state of a board for ever. Versions compare within an epoch only. */
export interface Position {
  epoch: string;
  version: number;
}

export interface Snapshot extends Position {
  board: string;
  /** Best first. */
  leaderboard: Entry[];
}

export interface RankChange {
  userId: string;
  username: string;
  newScore: number;
  /** null: no longer visible. */
  rank: number | null;
  /** null: a newcomer. */
  previousRank: number | null;
}

export interface Update extends Snapshot {
  /** Whose change is the newest. */
  userId: string;
  newScore: number;
  updates: RankChange[];
}

/** Positions count from 0, on the list as the operations before left it. */
export type DeltaOp =
  | ["-", at: number]
  | ["+", at: number, userId: string, username: string, score: number, lastUpdated: string]
  | ["=", at: number, score: number, lastUpdated: string]
  | ["m", from: number, to: number, score: number, lastUpdated: string];

export interface Delta {
  /** The version at which the client must stand. */
  from: number;
  version: number;
  ops: DeltaOp[];
  /** CRC-32 of the rows after it. */
  check?: string;
}

/** Its version is the board's, which may be ahead of the visible rows. */
export interface Heartbeat extends Position {
  board: string;
}

export interface Stale {
  reason: string;
}

export interface Bye {
  reason: string;
  reconnectInMs: number;
}

export interface OwnChange {
  board: string;
  version: number;
  newScore: number;
  rank: number | null;
  previousRank: number | null;
}

/** The shape of the whole board: some ranks with their scores. */
export interface Curve extends Position {
  board: string;
  players: number;
  points: [rank: number, score: number][];
}

/**
 * - `connecting`: the first connection, nothing to show yet.
 * - `live`: what is shown is the board's state.
 * - `stale`: the server is not sure to be within one second of the truth.
 * - `reconnecting`: the connection is lost and will be tried again.
 * - `stopped`: by `stop()`, or not started yet.
 */
export type StreamState = "connecting" | "live" | "stale" | "reconnecting" | "stopped";

export interface StreamStatus {
  state: StreamState;
  /** Set while waiting to connect again. */
  retryInMs: number | null;
}

export type Transport = "websocket" | "sse";

/** The server's events by their names on the wire, and the client's own: `board`, `status` and `token:refused`. */
export interface StreamEvents {
  "scoreboard:snapshot": Snapshot;
  "score:update": Update;
  delta: Delta;
  "score:me": OwnChange;
  "scoreboard:curve": Curve;
  heartbeat: Heartbeat;
  "scoreboard:stale": Stale;
  "server:bye": Bye;
  /** The whole visible state of the board, whichever event it came by. Its version never goes back within an epoch. */
  board: Snapshot;
  status: StreamStatus;
  /** The server takes the token no more. The stream goes on without it until `token` gives another one. */
  "token:refused": { token: string };
}

/** The part of the browser's WebSocket that the client uses, so that something else can stand in for it. */
export interface SocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  close(code?: number, reason?: string): void;
}

export interface Clock {
  now(): number;
  setTimeout(callback: () => void, ms: number): any;
  clearTimeout(handle: any): void;
}

/** What an SSE connection is opened with. */
export interface EventStreamOptions {
  token: string | null;
  lastEventId: string | null;
}

export interface StreamOptions {
  /** http(s) origin of the stream, possibly with a path before it; ws(s) follows from it. */
  baseUrl: string;
  board?: string;
  /** Rows, 1 to 100. */
  limit?: number;
  /** Asks for `scoreboard:curve` every few seconds, which `approximateRank` needs. */
  curve?: boolean;
  /** An access token, asked for at every connection; it adds `score:me`. */
  token?: () => string | null | Promise<string | null>;
  /** Subprotocols, the preferred one first. The default is `["scoreboard.v1.delta", "scoreboard.v1"]`. */
  protocols?: string[];
  /** The ways to try, the preferred one first. The default is both, where the platform has both. */
  transports?: Transport[];
  backoffBaseMs?: number;
  backoffCapMs?: number;
  /** No traffic for so long: the connection counts as dead. */
  silenceMs?: number;
  connectTimeoutMs?: number;
  /** A connection that held so long starts the backoff anew. */
  stableMs?: number;
  /** So long after it fell back to SSE, the next connection tries a WebSocket again. */
  retryPreferredMs?: number;
  openSocket?: (url: string, protocols: string[]) => SocketLike;
  openEventStream?: (url: string, options: EventStreamOptions) => SocketLike;
  clock?: Clock;
  /** In [0, 1). */
  random?: () => number;
}
