import { NameAllowance, type SecretNames } from '../secret-names.ts';
import { holdsUserInfo } from '../user-info.ts';
import type { PointerState } from './pointer-states.ts';
import { strongerOf, type Treatment } from './treatment.ts';
import { UnreadableBody } from './unreadable-body.ts';

/** Of a field's name, noted beside the message. */
const NOTED_CHARS = 64;

/**
 * What becomes of the fields of one form, of whatever type: by rules of one step, by names that are secret, and by
 * credentials of the URLs that they hold. Its time has a bound: past so many names a form is not read, and a value
 * that has so many in it is masked.
 */
export class FieldTreatments {
  readonly #root: PointerState;
  readonly #names: SecretNames;
  readonly #fields = new NameAllowance();
  readonly #inNames = new NameAllowance();
  readonly #inValues = new NameAllowance();

  constructor(root: PointerState, names: SecretNames) {
    this.#root = root;
    this.#names = names;
  }

  /**
   * By a field's name alone; one that rules look into is masked whole, for it is text to us.
   * @throws UnreadableBody where the form has too many
   */
  byName(name: string): Treatment | null {
    if (!this.#fields.take()) throw new UnreadableBody('too_large');
    const state = this.#root.member(name);
    const asked = strongerOf(this.#root.treatment, state.treatment);
    if (asked !== null) return asked;
    return this.#names.queryKey(name) === 'mask' || !state.idle ? this.whole(name) : null;
  }

  whole(name: string): Treatment {
    // A name that is a URL may be a secret itself, also where the sign after its user info was cut off.
    const noted = holdsUserInfo(Buffer.from(`${name}@`)) ? '@' : name.slice(0, NOTED_CHARS);
    return { covering: 'mask', strength: 0, name: `/${noted}` };
  }

  /** Whether a value has keys with names of secrets once its percent-encoding is taken off. */
  valueHidesKey(value: Uint8Array): boolean {
    return this.#names.hiddenIn(value, this.#inValues) === 'mask';
  }

  /** The same of a name. */
  nameHidesKey(name: Uint8Array): boolean {
    return this.#names.hiddenIn(name, this.#inNames) === 'mask';
  }

  /** Whether a value that needs no decoding has credentials of URLs, as it stands or encoded. */
  valueHasCredential(value: Uint8Array): boolean {
    return this.#hasCredential(value, this.#inValues);
  }

  /** The same of a name. */
  nameHasCredential(name: Uint8Array): boolean {
    return this.#hasCredential(name, this.#inNames);
  }

  #hasCredential(text: Uint8Array, allowance: NameAllowance): boolean {
    if (holdsUserInfo(text) || this.#names.within(text, allowance) === 'mask') return true;
    return this.#names.hiddenIn(text, allowance) === 'mask';
  }
}
