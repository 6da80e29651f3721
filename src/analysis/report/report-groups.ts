import type { ReportGroup, ReportGroups } from '../../documents/report.ts';
import { distributionOf } from '../profile/distribution.ts';
import { LazyHistogram } from '../profile/lazy-histogram.ts';

const NS_PER_US = 1e3;
const MS_PER_NS = 1e-6;
const MS_PER_US = 1e-3;
/** Names kept apart; a service has a handful of routes and models, a scan of it thousands. */
const MAX_GROUPS = 100;

/** The name of a class of request bodies, each twice as large as the one before. */
export function sizeName(index: number): string {
  return index === 0 ? '0' : `${2 ** (index - 1)}–${2 ** index - 1}`;
}

class Group {
  sent = 0;
  failed = 0;
  readonly latencyNs = new LazyHistogram();
  recordedUs = new LazyHistogram();
}

/** Requests that were sent, by a name, with what was recorded for the same names. */
export class GroupCounts {
  readonly #groups = new Map<string | null, Group>();
  #ungrouped = 0;
  #sent = 0;

  /** @param latencyNs null where it did not complete, or does not count */
  addSent(name: string | null, failed: boolean, latencyNs: number | null): void {
    this.#sent += 1;
    const group = this.#groupOf(name);
    if (group === null) {
      this.#ungrouped += 1;
      return;
    }
    group.sent += 1;
    if (failed) group.failed += 1;
    // To the microsecond, as what was recorded is.
    if (latencyNs !== null) group.latencyNs.record(Math.round(latencyNs / NS_PER_US) * NS_PER_US);
  }

  /** After everything that was sent; what was recorded under another name is nobody's. */
  addRecorded(name: string | null, latencyUs: number, times: number): void {
    const group = this.#groups.get(name);
    for (let copy = 0; group !== undefined && copy < times; copy += 1) group.recordedUs.record(latencyUs);
  }

  /** As if nothing recorded had been taken. */
  forgetRecorded(): void {
    for (const group of this.#groups.values()) group.recordedUs = new LazyHistogram();
  }

  figures(): ReportGroups {
    const groups = [...this.#groups].map(([name, { sent, failed, latencyNs, recordedUs }]) => ({
      name,
      sent,
      share: sent / this.#sent,
      failed,
      latencyMs: distributionOf(latencyNs.histogram, MS_PER_NS),
      recordedMs: distributionOf(recordedUs.histogram, MS_PER_US),
    }));
    groups.sort((a, b) => b.sent - a.sent || ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
    return { groups, ungrouped: this.#ungrouped };
  }

  #groupOf(name: string | null): Group | null {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    if (this.#groups.size >= MAX_GROUPS) return null;
    const group = new Group();
    this.#groups.set(name, group);
    return group;
  }
}

/** Sizes in rising order. */
export function bySize({ groups, ungrouped }: ReportGroups): ReportGroups {
  const least = ({ name }: ReportGroup) => Number.parseInt(name ?? '0', 10);
  return { groups: groups.toSorted((a, b) => least(a) - least(b)), ungrouped };
}
