import assert from "node:assert/strict";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { test } from "node:test";
import { decodeBase64Url, hmacSha256, hmacSha256Plain, hmacSha256WebCrypto, sha256, sign, signedText, toHex } from "../page/signature.js";

const FIELDS = {
  board: "global",
  userId: "0192f0c1-7a52-7c3e-9d1e-5d3f6a1b2c3d",
  actionId: "match-42",
  actionType: "default",
  points: 100,
  timestamp: "2026-11-20T10:00:00.000Z",
};

/** @param {number} length */
function random(length) {
  return Uint8Array.from(randomBytes(length));
}

test("the signed text is seven lines without a newline at the end", () => {
  assert.equal(
    signedText(FIELDS),
    "scoreboard-v1\nglobal\n0192f0c1-7a52-7c3e-9d1e-5d3f6a1b2c3d\nmatch-42\ndefault\n100\n2026-11-20T10:00:00.000Z",
  );
});

test("points that are left out are an empty line", () => {
  const lines = signedText({ ...FIELDS, points: undefined }).split("\n");
  assert.equal(lines.length, 7);
  assert.equal(lines[5], "");
});

test("a signature is what node's own HMAC makes of the same key and text", async () => {
  for (let round = 0; round < 50; round += 1) {
    const key = randomBytes(32);
    const fields = { ...FIELDS, points: round, actionId: `round-${round}` };
    const expected = createHmac("sha256", key).update(signedText(fields)).digest("hex");
    assert.equal(await sign(key.toString("base64url"), fields), expected);
  }
});

// RFC 4231, test cases 1, 2, 3 and 6 (a key longer than a block).
const RFC_4231 = [
  [Buffer.alloc(20, 0x0b), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"],
  ["Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
  [Buffer.alloc(20, 0xaa), Buffer.alloc(50, 0xdd), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"],
  [
    Buffer.alloc(131, 0xaa),
    "Test Using Larger Than Block-Size Key - Hash Key First",
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
  ],
];

test("both ways to HMAC-SHA256 give the answers of RFC 4231", async () => {
  for (const [key, message, expected] of RFC_4231) {
    const keyBytes = Uint8Array.from(Buffer.from(/** @type {Buffer} */ (key)));
    const messageBytes = Uint8Array.from(Buffer.from(/** @type {Buffer} */ (message)));
    assert.equal(toHex(hmacSha256Plain(keyBytes, messageBytes)), expected);
    assert.equal(toHex(await hmacSha256WebCrypto(keyBytes, messageBytes)), expected);
  }
});

test("the plain HMAC equals WebCrypto's on random keys and messages", async () => {
  for (let round = 0; round < 200; round += 1) {
    const key = random(1 + Math.floor(Math.random() * 150));
    const message = random(Math.floor(Math.random() * 400));
    assert.equal(toHex(hmacSha256Plain(key, message)), toHex(await hmacSha256WebCrypto(key, message)));
  }
});

test("the plain SHA-256 is right at every length around its blocks", () => {
  for (let length = 0; length <= 200; length += 1) {
    const message = random(length);
    assert.equal(toHex(sha256(message)), createHash("sha256").update(message).digest("hex"), `at ${length} bytes`);
  }
});

test("without crypto.subtle the plain HMAC steps in", async (t) => {
  const expected = createHmac("sha256", "key").update("message").digest("hex");
  const insecure = Object.defineProperty({}, "subtle", { value: undefined });
  const real = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(globalThis, "crypto"));
  Object.defineProperty(globalThis, "crypto", { value: insecure, configurable: true });
  t.after(() => Object.defineProperty(globalThis, "crypto", real));
  const encoder = new TextEncoder();
  assert.equal(toHex(await hmacSha256(encoder.encode("key"), encoder.encode("message"))), expected);
});

test("base64url is read with and without padding", () => {
  for (let length = 0; length < 40; length += 1) {
    const bytes = random(length);
    const text = Buffer.from(bytes).toString("base64url");
    assert.deepEqual(decodeBase64Url(text), bytes);
    assert.deepEqual(decodeBase64Url(text + "=".repeat((4 - (text.length % 4)) % 4)), bytes);
  }
});
