/** 2¹⁶ registers: the standard error of the estimate is 1.04 / √65536 = 0.4 % of what is distinct. */
const REGISTER_BITS = 16;
const REGISTERS = 2 ** REGISTER_BITS;
/** Ranks are read from a word: none is greater than where all of its bits are 0. */
const WORD_BITS = 32;

/** How many different things were seen, at 64 KB: HyperLogLog (Flajolet et al. 2007). */
export class DistinctEstimate {
  readonly #registers = new Uint8Array(REGISTERS);

  /** Two words of a uniform hash: the register is chosen by 16 bits of the one, the zeros are read from the other. */
  add(high: number, low: number): void {
    const index = high & (REGISTERS - 1);
    const rank = Math.clz32(low) + 1;
    if (rank > this.#registers[index]!) this.#registers[index] = rank;
  }

  /** By Ertl's estimator (New cardinality estimation algorithms for HyperLogLog sketches, 2017): without bias, few or many. */
  estimate(): number {
    const counts = new Float64Array(WORD_BITS + 2);
    for (const rank of this.#registers) counts[rank]! += 1;
    let harmonic = REGISTERS * beyondWord(1 - (counts[WORD_BITS + 1] ?? 0) / REGISTERS);
    for (let rank = WORD_BITS; rank >= 1; rank -= 1) harmonic = (harmonic + (counts[rank] ?? 0)) / 2;
    harmonic += REGISTERS * beforeFirst((counts[0] ?? 0) / REGISTERS);
    return REGISTERS ** 2 / (2 * Math.LN2 * harmonic);
  }
}

/** What registers stand for that nothing has reached: x + Σ 2ᵏ⁻¹ x^(2ᵏ), for their share x. */
function beforeFirst(share: number): number {
  if (share === 1) return Number.POSITIVE_INFINITY;
  let [power, weight, sum, before] = [share, 1, share, -1];
  while (sum !== before) {
    before = sum;
    power *= power;
    sum += power * weight;
    weight *= 2;
  }
  return sum;
}

/** What registers stand for that have reached the last rank: (1 − x − Σ (1 − x^(2⁻ᵏ))² 2⁻ᵏ) / 3, for the share x of others. */
function beyondWord(share: number): number {
  if (share === 0 || share === 1) return 0;
  let [root, weight, sum, before] = [share, 1, 1 - share, -1];
  while (sum !== before) {
    before = sum;
    root = Math.sqrt(root);
    weight /= 2;
    sum -= (1 - root) ** 2 * weight;
  }
  return sum / 3;
}
