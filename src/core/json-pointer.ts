import { AppError } from './errors.ts';

/** Matches any member of an object or element of an array. */
export const ANY_MEMBER = Symbol('any member');

/** One step of a pointer: a member name or an element index as text, or any. */
export type PointerStep = string | typeof ANY_MEMBER;

/** Deeper than any payload that model servers accept. */
const MAX_STEPS = 32;

/**
 * Reads a JSON pointer (RFC 6901) in which a step `*` matches any member or element. The empty pointer means
 * the whole document.
 * @param what the flag, for the error message
 * @throws AppError OPTION_INVALID
 */
export function parseJsonPointer(text: string, what?: string): readonly PointerStep[] {
  const invalid = (pointer: string, problem: string, hint?: string) => {
    const message = `${what === undefined ? '' : `${what}: `}JSON pointer ${JSON.stringify(pointer)} ${problem}`;
    return new AppError('OPTION_INVALID', message, hint === undefined ? {} : { hint });
  };
  if (text === '') return [];
  if (!text.startsWith('/')) {
    throw invalid(
      text,
      'does not begin with /',
      `write /${text.replace(/^\$?\.?/, '').replaceAll('.', '/')}`,
    );
  }
  const steps = text.slice(1).split('/');
  if (steps.length > MAX_STEPS) throw invalid(text, `has more than ${MAX_STEPS} steps`);
  return steps.map((step) => {
    if (step === '*') return ANY_MEMBER;
    if (step === '-') throw invalid(text, 'points past the end of an array (-)', 'write * for any element');
    if (/~(?![01])/.test(step)) throw invalid(text, 'has a ~ that is neither ~0 nor ~1', 'write ~0 for ~');
    return step.replaceAll('~1', '/').replaceAll('~0', '~');
  });
}
