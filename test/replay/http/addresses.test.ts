import { describe, expect, test } from 'vitest';
import { AddressBook } from '../../../src/replay/http/addresses.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const SECOND_NS = 1_000_000_000;

function take(book: AddressBook, count: number): string[] {
  return Array.from({ length: count }, () => book.next());
}

/** Lets promises that are already settled run their callbacks. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the addresses behind a name', () => {
  test('are taken in turn', async () => {
    const book = new AddressBook(
      'models',
      async () => ['10.0.0.1', '10.0.0.2', '10.0.0.1'],
      new ManualClock(),
    );
    await book.refresh();
    expect(take(book, 4)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.1', '10.0.0.2']);
  });

  test('are passed over while they do not accept connections, unless none does', async () => {
    const book = new AddressBook('models', async () => ['a', 'b', 'c'], new ManualClock());
    await book.refresh();
    book.noteFailure('b');
    expect(new Set(take(book, 6))).toEqual(new Set(['a', 'c']));
    book.noteFailure('a');
    book.noteFailure('c');
    expect(new Set(take(book, 6))).toEqual(new Set(['a', 'b', 'c']));
    book.noteSuccess('b');
    expect(new Set(take(book, 6))).toEqual(new Set(['b']));
  });

  test('are asked for again as replicas come and go, at most every five seconds', async () => {
    const clock = new ManualClock();
    let asked = 0;
    const book = new AddressBook('models', async () => [`answer ${++asked}`], clock);
    await book.refresh();
    clock.advance(5 * SECOND_NS);
    expect(book.next()).toBe('answer 1');
    clock.advance(1);
    book.next();
    book.next();
    await settled();
    expect(book.next()).toBe('answer 2');
    expect(asked).toBe(2);
  });

  test('stay as they were when the name no longer resolves', async () => {
    const answers = [['a'], new Error('resolver down')];
    const book = new AddressBook(
      'models',
      async () => {
        const answer = answers.shift();
        if (answer instanceof Error || answer === undefined) throw answer;
        return answer;
      },
      new ManualClock(),
    );
    await book.refresh();
    await book.refresh();
    expect(book.next()).toBe('a');
  });

  test('are not asked for when the target is an address', async () => {
    const book = new AddressBook('[::1]', () => Promise.reject(new Error('asked')), new ManualClock());
    await book.refresh();
    expect(book.addresses).toEqual(['::1']);
  });

  test('are never those of production, whatever the name comes to mean', async () => {
    const answers = [['10.9.0.1'], ['10.9.0.1', '::ffff:10.0.0.5'], ['10.0.0.5']];
    const book = new AddressBook('staging', async () => answers.shift() ?? [], new ManualClock(), {
      addresses: [['10.0.0.5', 'triton.prod']],
      loopback: null,
    });
    for (const expected of [['10.9.0.1'], ['10.9.0.1'], ['staging']]) {
      await book.refresh();
      expect(book.addresses).toEqual(expected);
    }
  });
});
