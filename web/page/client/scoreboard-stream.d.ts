/**
 * The client of Scoreboard's live stream, for browsers and Node (22 or newer; older ones take Server-Sent Events). No build, no
 * dependencies: the files of this folder can be copied, or imported from the server itself.
 *
 *     import { ScoreboardStream } from "./client/scoreboard-stream.js";
 *     const stream = new ScoreboardStream({ baseUrl: location.origin, board: "global" });
 *     stream.on("board", ({ leaderboard }) => draw(leaderboard));
 *     stream.on("status", ({ state }) => badge(state));
 *     stream.start();
 *
 * It holds the state that it was told last. Within an epoch what it delivers never goes back, whatever arrives; after a lost connection
 * it asks to go on from there. It waits as long as `server:bye` says, and otherwise a random part of a step that doubles after every
 * failure, up to a cap, so that a restarted server is not met by everyone at once. Where no WebSocket gets through it takes SSE.
 */
export type Curve = import("./stream-types.d.ts").Curve;
export type Snapshot = import("./stream-types.d.ts").Snapshot;
export type SocketLike = import("./stream-types.d.ts").SocketLike;
export type StreamEvents = import("./stream-types.d.ts").StreamEvents;
export type StreamOptions = import("./stream-types.d.ts").StreamOptions;
export type StreamState = import("./stream-types.d.ts").StreamState;
/** @typedef {import("./stream-types.d.ts").Curve} Curve */
/** @typedef {import("./stream-types.d.ts").Snapshot} Snapshot */
/** @typedef {import("./stream-types.d.ts").SocketLike} SocketLike */
/** @typedef {import("./stream-types.d.ts").StreamEvents} StreamEvents */
/** @typedef {import("./stream-types.d.ts").StreamOptions} StreamOptions */
/** @typedef {import("./stream-types.d.ts").StreamState} StreamState */
/** Whole lists at every change. */
export declare const PROTOCOL = "scoreboard.v1";
/** Only what changed. */
export declare const DELTA_PROTOCOL = "scoreboard.v1.delta";
/**
 * The wait before the attempt after `failures` failed ones: anything up to a step that doubles up to the cap ("full jitter").
 * @param {number} failures
 * @param {{ baseMs: number, capMs: number, random: () => number }} options
 */
export declare function backoffMs(failures: number, { baseMs, capMs, random }: {
    baseMs: number;
    capMs: number;
    random: () => number;
}): number;
export declare class ScoreboardStream {
    #private;
    /** @param {StreamOptions} options */
    constructor(options: StreamOptions);
    get state(): import("./stream-types.d.ts").StreamState;
    /** The state that was delivered last; null before the first one. */
    get position(): {
        epoch: string;
        version: number;
    } | null;
    /** The shape of the whole board, if it was asked for and has come. */
    get curve(): import("./stream-types.d.ts").Curve | null;
    /**
     * About the rank of a score on the whole board, without a query.
     * @param {number} score
     * @returns {number | null} null: not known (yet), or `curve` was not asked for
     */
    approximateRank(score: number): number | null;
    /**
     * @template {keyof StreamEvents} K
     * @param {K} event
     * @param {(data: StreamEvents[K]) => void} listener
     * @returns {() => void} takes the listener off again
     */
    on<K extends keyof StreamEvents>(event: K, listener: (data: StreamEvents[K]) => void): () => void;
    start(): void;
    stop(): void;
    /** Ends a wait: for a browser that is online or in the foreground again. An open connection is left alone. */
    reconnectNow(): void;
    /** Connects anew where `token` gives another one than this connection was opened with. What is shown stays. */
    renew(): void;
}
