import { SeededRandom } from '../random.ts';

/**
 * Words of one to nine letters, each of them one token of the common vocabularies. Stars would be cheap to a
 * tokenizer (sixteen to a token), so that a replayed mask would weigh a fraction of the text it covers.
 */
const WORDS: readonly (readonly string[])[] = [
  'a i',
  'of to in it is on as by at or we so',
  'the and for you was are not but all can how out new day now',
  'that with from this have your more will time some only over just most year',
  'about other which their there first these would after where right water small place',
  'people should number before system little school change always around family follow',
  'because through between another problem company however without several program general',
  'together children business question national possible possibly increase research although',
  'important different something community including available education beginning questions',
].map((line) => line.split(' '));
const LONGEST_WORD = WORDS.length;

/** Bytes per token, the blank before a word counted: no filler is denser or thinner than this. */
const DENSEST = 2;
const THINNEST = LONGEST_WORD + 1;
const STEPS_PER_BYTE = 4;

const FILLER_BYTES = 16 * 1024;
/** What is copied at once; then the filler is taken up at another word. */
const STRETCH_BYTES = 512;
const BLANK = 0x20;

/** Text of a given weight, made once: covering a value is copying from it. */
class Filler {
  readonly #text = Buffer.alloc(FILLER_BYTES, BLANK);
  /** Where words begin that have a whole stretch behind them. */
  readonly #starts: number[] = [];

  /** @param perToken bytes that a word and its blank take on average */
  constructor(perToken: number) {
    const random = new SeededRandom(Math.round(perToken * STEPS_PER_BYTE));
    // What the words so far took beyond their share: the next one makes up for it.
    let surplus = 0;
    for (let at = 0; at + LONGEST_WORD < FILLER_BYTES; ) {
      const wanted = perToken - 1 - surplus + (random.below(3) - 1);
      const length = Math.min(LONGEST_WORD, Math.max(1, Math.round(wanted)));
      const words = WORDS[length - 1] as readonly string[];
      this.#text.write(words[random.below(words.length)] as string, at, 'latin1');
      if (at + STRETCH_BYTES <= FILLER_BYTES) this.#starts.push(at);
      at += length + 1;
      surplus += length + 1 - perToken;
    }
  }

  fill(text: Buffer, from: number, to: number, random: SeededRandom): void {
    for (let at = from; at < to; at += STRETCH_BYTES) {
      const start = this.#starts[random.below(this.#starts.length)] as number;
      this.#text.copy(text, at, start, start + Math.min(STRETCH_BYTES, to - at));
    }
  }
}

const fillers = new Map<number, Filler>();

/** Writes words over `text[from, to)` that take about `perToken` bytes each, their blanks included. */
export function fillWithWords(
  text: Buffer,
  from: number,
  to: number,
  perToken: number,
  random: SeededRandom,
): void {
  const step = Math.round(Math.min(THINNEST, Math.max(DENSEST, perToken)) * STEPS_PER_BYTE);
  let filler = fillers.get(step);
  if (filler === undefined) {
    filler = new Filler(step / STEPS_PER_BYTE);
    fillers.set(step, filler);
  }
  filler.fill(text, from, to, random);
}
