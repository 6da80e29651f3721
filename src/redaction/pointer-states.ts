import { ANY_MEMBER, type PointerStep, parseJsonPointer } from '../core/json-cursor.ts';
import { strongerOf, type Treatment } from './body-rules.ts';

/** A rule partly matched: its steps, and how many have matched. */
interface Descent {
  readonly steps: readonly PointerStep[];
  readonly taken: number;
  readonly treatment: Treatment;
}

/** States are created on demand and cached up to this number. Beyond that they are not cached. */
const KEPT_STATES = 4_096;

/**
 * Matches all rules at once during a walk through a document. Each member leads to the next state. Names are
 * compared case-insensitively, as some servers (Go's decoder) do.
 */
export class PointerState {
  /** The treatment of the value here. */
  readonly treatment: Treatment | null;
  /** Whether no rule can match anything below. */
  readonly idle: boolean;
  readonly #descents: readonly Descent[];
  readonly #budget: { states: number };
  /** Names that a rule spells out here. */
  readonly #literals = new Set<string>();
  readonly #members = new Map<string, PointerState>();
  #other: PointerState | null = null;

  private constructor(descents: readonly Descent[], budget: { states: number }) {
    this.#budget = budget;
    this.treatment = descents
      .filter(({ steps, taken }) => taken === steps.length)
      .reduce<Treatment | null>((strongest, { treatment }) => strongerOf(strongest, treatment), null);
    this.#descents = descents.filter(({ steps, taken }) => taken < steps.length);
    this.idle = this.#descents.length === 0;
    for (const { steps, taken } of this.#descents) {
      const step = steps[taken];
      if (typeof step === 'string') this.#literals.add(folded(step));
    }
  }

  static root(treatments: readonly Treatment[]): PointerState {
    const descents = treatments.map((treatment) => ({
      steps: parseJsonPointer(treatment.name),
      taken: 0,
      treatment,
    }));
    return new PointerState(descents, { states: 1 });
  }

  /** Whether member names matter here. */
  get readsNames(): boolean {
    return this.#literals.size > 0;
  }

  /**
   * The state at the member with this name; for array elements, the index as text.
   * @param alias another name that rules may use for the member; always the same one for the same name
   */
  member(name: string, alias: string = name): PointerState {
    if (!this.readsNames) return this.other();
    const [key, other] = [folded(name), folded(alias)];
    if (!this.#literals.has(key) && !this.#literals.has(other)) return this.other();
    const known = this.#members.get(key);
    if (known !== undefined) return known;
    const next = this.#step((step) => step === ANY_MEMBER || folded(step) === key || folded(step) === other);
    if (this.#mayKeep()) this.#members.set(key, next);
    return next;
  }

  /** The state at a member that no rule spells out. */
  other(): PointerState {
    if (this.idle) return NOWHERE;
    if (this.#other !== null) return this.#other;
    const next = this.#step((step) => step === ANY_MEMBER);
    if (this.#mayKeep()) this.#other = next;
    return next;
  }

  #step(takes: (step: PointerStep) => boolean): PointerState {
    const taking = this.#descents.filter(({ steps, taken }) => takes(steps[taken] as PointerStep));
    if (taking.length === 0) return NOWHERE;
    return new PointerState(
      taking.map(({ steps, taken, treatment }) => ({ steps, taken: taken + 1, treatment })),
      this.#budget,
    );
  }

  #mayKeep(): boolean {
    if (this.#budget.states >= KEPT_STATES) return false;
    this.#budget.states += 1;
    return true;
  }
}

/** No rule matches here or below. */
export const NOWHERE: PointerState = PointerState.root([]);

function folded(name: string): string {
  // Both ways: some letters have one capital and two lower-case forms.
  return name.toUpperCase().toLowerCase();
}
