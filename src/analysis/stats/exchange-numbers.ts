/** Larger ids are ignored. Ids are positions in a segment, and a segment has no more rows than this. */
const MAX_ID = 16_777_216;
const FIRST_SIZE = 1_024;

type Numbers = Uint8Array | Uint32Array | Float64Array;

/** A number for each recorded exchange, 0 until it is set. There is one dense array for each segment. */
export class ExchangeNumbers<T extends Uint8Array | Uint32Array> {
  readonly #make: new (
    size: number,
  ) => T;
  readonly #bySegment = new Map<string, T>();

  constructor(make: new (size: number) => T) {
    this.#make = make;
  }

  /** 0 for an id that is out of range. */
  get(segment: string, id: number): number {
    return this.#bySegment.get(segment)?.[id] ?? 0;
  }

  /** Ignores an id that is out of range. */
  set(segment: string, id: number, value: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_ID) return;
    let numbers = this.#bySegment.get(segment);
    if (numbers === undefined || id >= numbers.length) {
      const wider = new this.#make(Math.max(FIRST_SIZE, 2 ** Math.ceil(Math.log2(id + 1))));
      numbers = numbers === undefined ? wider : grown(numbers, wider);
      this.#bySegment.set(segment, numbers);
    }
    numbers[id] = value;
  }
}

/** A longer array that begins with the values of the shorter one. */
export function grown<T extends Numbers>(from: T, to: T): T {
  to.set(from);
  return to;
}
