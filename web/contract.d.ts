// The shapes of the public contract, as far as the page uses them. Only the type checker reads this file; browsers never load it.

/** One row of a board. `rank` is the position, 1..N with no two alike. */
export interface Entry {
  userId: string;
  username: string;
  score: number;
  rank: number;
  /** RFC 3339, UTC. */
  lastUpdated: string;
}

export interface PageConfig {
  /** Where the stream lives; null: on the page's own origin. */
  streamUrl: string | null;
  board: string;
}

export interface Registration {
  userId: string;
  username: string;
}

export interface Tokens {
  accessToken: string;
  refreshToken: string;
  tokenType: string;
  expiresIn: number;
  refreshExpiresIn: number;
  userId: string;
  username: string;
  /** base64url; the key of the score signatures. */
  signingKey: string;
}

export interface ActionType {
  actionType: string;
  proof: string;
  minPoints: number | null;
  maxPoints: number | null;
  defaultPoints: number | null;
  dailyCap: number | null;
}

export interface BoardInfo {
  board: string;
  epoch: string;
  version: number;
  actionTypes: ActionType[];
}

/** What is signed; `board` and `actionType` with their defaults filled in. */
export interface SignedFields {
  board: string;
  userId: string;
  actionId: string;
  actionType: string;
  points?: number | undefined;
  timestamp: string;
}

export interface ScoreUpdateBody {
  actionId: string;
  board: string;
  actionType: string;
  points?: number;
  timestamp?: string;
  signature?: string;
  idempotencyKey?: string;
}

export interface ScoreAnswer {
  actionId: string;
  board: string;
  status: "applied" | "pending" | "rejected";
  newScore: number | null;
  rank: number | null;
  version: number | null;
  /** Of a rejected receipt: why. */
  code?: string | null;
}

export interface ErrorBody {
  error: {
    code: string;
    message: string;
    details?: Record<string, unknown>;
    requestId?: string;
  };
}

export interface Snapshot {
  board: string;
  epoch: string;
  version: number;
  leaderboard: Entry[];
}

export interface RankChange {
  userId: string;
  username: string;
  newScore: number;
  rank: number | null;
  previousRank: number | null;
}

export interface Update extends Snapshot {
  userId: string;
  newScore: number;
  updates: RankChange[];
}

export interface Heartbeat {
  board: string;
  epoch: string;
  version: number;
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

/** The server's events by their names on the wire, and two of the client's own: `board` and `status`. */
export interface StreamEvents {
  "scoreboard:snapshot": Snapshot;
  "score:update": Update;
  "score:me": OwnChange;
  heartbeat: Heartbeat;
  "scoreboard:stale": Stale;
  "server:bye": Bye;
  /** An accepted snapshot or update: the whole visible state of the board. */
  board: Snapshot;
  status: StreamStatus;
}

/** The part of the browser's WebSocket that the stream client uses, so that a test can stand in for it. */
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

export interface StreamOptions {
  /** http(s) origin of the stream; ws(s) follows from it. */
  baseUrl: string;
  board: string;
  limit?: number;
  /** Asked at every connection; the default is `["scoreboard.v1"]`. */
  protocols?: () => string[];
  backoffBaseMs?: number;
  backoffCapMs?: number;
  /** No frame for so long: the connection counts as dead. */
  silenceMs?: number;
  connectTimeoutMs?: number;
  /** A connection that held so long starts the backoff anew. */
  stableMs?: number;
  openSocket?: (url: string, protocols: string[]) => SocketLike;
  clock?: Clock;
  /** In [0, 1). */
  random?: () => number;
}
