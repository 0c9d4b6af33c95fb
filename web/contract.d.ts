// The shapes of the public contract, as far as the page uses them. Only the type checker reads this file; browsers never load it.

/** What the stream tells has its types beside the stream's client. */
export type { Entry } from "./page/client/stream-types.d.ts";

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
