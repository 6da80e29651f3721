/** URLs in URLs are encoded once for each that is around them; more than this nobody has seen. */
const ROUNDS = 3;

/** Decodes percent-encoded ASCII; anything else stays as it is, so that no input can fail. */
export function decodePercent(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%([0-7][0-9a-fA-F])/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** An encoded text decoded once, twice and so on, as often as a server or those behind it may. */
export function* decodedRounds(text: string): Generator<string> {
  let plain = text;
  for (let round = 0; round < ROUNDS && plain.includes('%'); round += 1) {
    plain = decodePercent(plain);
    yield plain;
  }
}
