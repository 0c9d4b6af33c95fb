/**
 * The signature of a score update: HMAC-SHA256 over seven lines, with the key that login gave.
 *
 * Browsers offer `crypto.subtle` only to secure contexts (https, localhost). A board on a plain-http address in a local network is
 * neither, so SHA-256 is also here in plain JavaScript; the tests hold the two to the same answers.
 */

/** @typedef {import("../contract.js").SignedFields} SignedFields */

const BLOCK_BYTES = 64;
const SCHEME = "scoreboard-v1";

/**
 * The signed text: seven lines joined by "\n", none at the end; `points` is empty when left out.
 * @param {SignedFields} fields
 */
export function signedText(fields) {
  const points = fields.points === undefined ? "" : String(fields.points);
  return [SCHEME, fields.board, fields.userId, fields.actionId, fields.actionType, points, fields.timestamp].join("\n");
}

/**
 * @param {string} signingKey base64url, as login answered it
 * @param {SignedFields} fields
 * @returns {Promise<string>} 64 lower-case hex digits
 */
export async function sign(signingKey, fields) {
  const key = decodeBase64Url(signingKey);
  const message = new TextEncoder().encode(signedText(fields));
  return toHex(await hmacSha256(key, message));
}

/**
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} message
 * @returns {Promise<Uint8Array>}
 */
export async function hmacSha256(key, message) {
  // WebCrypto refuses an empty key, which HMAC itself allows.
  if (globalThis.crypto?.subtle === undefined || key.length === 0) return hmacSha256Plain(key, message);
  return hmacSha256WebCrypto(key, message);
}

/**
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} message
 */
export async function hmacSha256WebCrypto(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

/**
 * RFC 2104 over the SHA-256 below.
 * @param {Uint8Array} key
 * @param {Uint8Array} message
 */
export function hmacSha256Plain(key, message) {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(key.length > BLOCK_BYTES ? sha256(key) : key);
  const inner = sha256(concat(block.map((byte) => byte ^ 0x36), message));
  return sha256(concat(block.map((byte) => byte ^ 0x5c), inner));
}

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
const ROUND_CONSTANTS = new Uint32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);

/**
 * @param {Uint8Array} message
 * @returns {Uint8Array<ArrayBuffer>} 32 bytes
 */
export function sha256(message) {
  const state = new Uint32Array([
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  ]);
  const padded = new DataView(pad(message).buffer);
  const schedule = new Uint32Array(64);
  for (let offset = 0; offset < padded.byteLength; offset += BLOCK_BYTES) compress(state, schedule, padded, offset);

  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setUint32(index * 4, word));
  return new Uint8Array(digest.buffer);
}

/**
 * The message, one bit, zeros, and the length in bits: whole blocks.
 * @param {Uint8Array} message
 */
function pad(message) {
  const padded = new Uint8Array(Math.ceil((message.length + 9) / BLOCK_BYTES) * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(padded.length - 4, message.length << 3);
  return padded;
}

/**
 * One block into the state (FIPS 180-4, 6.2.2). Typed arrays keep the words at 32 bits.
 * @param {Uint32Array} state
 * @param {Uint32Array} schedule
 * @param {DataView} message
 * @param {number} offset
 */
function compress(state, schedule, message, offset) {
  const w = /** @type {number[]} */ (/** @type {unknown} */ (schedule));
  for (let t = 0; t < 16; t += 1) w[t] = message.getUint32(offset + t * 4);
  for (let t = 16; t < 64; t += 1) {
    const w15 = at(w, t - 15);
    const w2 = at(w, t - 2);
    const small0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    const small1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    w[t] = at(w, t - 16) + small0 + at(w, t - 7) + small1;
  }

  let [a, b, c, d, e, f, g, h] = /** @type {[number, number, number, number, number, number, number, number]} */ ([...state]);
  for (let t = 0; t < 64; t += 1) {
    const big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const first = (h + big1 + choice + at(ROUND_CONSTANTS, t) + at(w, t)) | 0;
    const big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const second = (big0 + majority) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, index) => {
    state[index] = at(state, index) + word;
  });
}

/**
 * @param {ArrayLike<number>} words
 * @param {number} index
 */
function at(words, index) {
  return /** @type {number} */ (words[index]);
}

/**
 * @param {number} word
 * @param {number} bits
 */
function rotate(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

/**
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function concat(first, second) {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

/**
 * @param {string} text base64url, with or without padding
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decodeBase64Url(text) {
  const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/").replace(/=+$/, ""));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
