import type { InputSizeGroup } from '../../documents/profile.ts';
import { sizeClassOf } from '../stats/distance.ts';
import { Group, type GroupEntry } from './groups.ts';

/** Groups by the size of the request body, one class to each doubling. */
export class InputSizes {
  readonly #classes: Group[] = [];

  /** A request whose size is not known is in no class. */
  add(entry: GroupEntry): void {
    if (entry.requestBytes === null) return;
    const index = sizeClassOf(entry.requestBytes);
    while (this.#classes.length <= index) this.#classes.push(new Group());
    this.#classes[index]!.add(entry);
  }

  /** In rising order; classes without requests are left out. */
  figures(of: number): InputSizeGroup[] {
    return this.#classes.flatMap((group, index) =>
      group.requests === 0
        ? []
        : [
            {
              fromBytes: index === 0 ? 0 : 2 ** (index - 1),
              toBytes: index === 0 ? 0 : 2 ** index - 1,
              ...group.figures(of),
            },
          ],
    );
  }
}
