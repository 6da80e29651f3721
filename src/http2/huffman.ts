/**
 * Length in bits of the code of each byte, and of the end of a string, as digits of base 36 (RFC 7541 appendix B). The
 * codes are canonical: they follow from their lengths.
 */
const CODE_LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad677777777777777777777' +
  '77878djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmo' +
  'lmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu';

const END_OF_STRING = 256;
/** Flags of a step: it completes a byte, or no string contains it. */
const EMITS = 1 << 16;
const FAILS = 1 << 17;

interface Steps {
  /** For each state and four bits: the next state, a byte that they complete (from bit 8 on), and the flags above. */
  readonly next: Int32Array;
  /** Whether a string may end in a state: fewer than eight bits are left over, and all of them are ones. */
  readonly mayEnd: Uint8Array;
}

const STEPS = stepsOf(treeOf(CODE_LENGTHS));

/**
 * Decodes a string, four bits at a step.
 * @param into receives the bytes; it must have room for 8/5 of the coded length
 * @returns how many bytes; -1 if it is no Huffman string, or its padding is not the shortest one
 */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number, into: Uint8Array): number {
  const { next, mayEnd } = STEPS;
  let state = 0;
  let length = 0;
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at]!;
    const high = next[(state << 4) | (byte >> 4)]!;
    if ((high & EMITS) !== 0) into[length++] = (high >> 8) & 0xff;
    const low = next[((high & 0xff) << 4) | (byte & 15)]!;
    if ((low & EMITS) !== 0) into[length++] = (low >> 8) & 0xff;
    if (((high | low) & FAILS) !== 0) return -1;
    state = low & 0xff;
  }
  return mayEnd[state] === 1 ? length : -1;
}

/** Inner nodes in the order of their creation, the root first. A child is an inner node, or -1 - symbol. */
function treeOf(lengths: string): number[][] {
  const bits = [...lengths].map((digit) => Number.parseInt(digit, 36));
  const symbols = [...bits.keys()].sort((a, b) => bits[a]! - bits[b]! || a - b);
  const nodes: number[][] = [[0, 0]];
  let code = 0;
  let before = bits[symbols[0]!]!;
  for (const symbol of symbols) {
    const length = bits[symbol]!;
    code <<= length - before;
    before = length;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit -= 1) {
      const side = (code >> bit) & 1;
      if (nodes[node]![side] === 0) nodes[node]![side] = nodes.push([0, 0]) - 1;
      node = nodes[node]![side]!;
    }
    nodes[node]![code & 1] = -1 - symbol;
    code += 1;
  }
  return nodes;
}

function stepsOf(nodes: readonly number[][]): Steps {
  const next = new Int32Array(nodes.length << 4);
  const mayEnd = new Uint8Array(nodes.length);
  for (let state = 0; state < nodes.length; state += 1)
    for (let four = 0; four < 16; four += 1) next[(state << 4) | four] = stepOf(nodes, state, four);
  for (let ones = 0, node = 0; ones < 8; ones += 1, node = nodes[node]![1]!) mayEnd[node] = 1;
  return { next, mayEnd };
}

/** No code is shorter than five bits, so four bits complete at most one byte. */
function stepOf(nodes: readonly number[][], state: number, four: number): number {
  let node = state;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit -= 1) {
    node = nodes[node]![(four >> bit) & 1]!;
    if (node === -1 - END_OF_STRING) return FAILS;
    if (node < 0) {
      emitted = EMITS | ((-1 - node) << 8);
      node = 0;
    }
  }
  return emitted | node;
}
