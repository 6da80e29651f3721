import { LoadSeconds } from '../../analysis/autoscaling/autoscaling.ts';
import {
  type MonitoredPart,
  type MonitoredValues,
  monitoredFigures,
  monitoredValues,
} from '../../analysis/metrics/monitored.ts';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { lagNsOf, type Send } from '../../core/run.ts';
import type { AutoscalingDocument } from '../../documents/autoscaling.ts';
import type { ConnectionsDocument } from '../../documents/connections.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type { MonitoredSeries, MonitorsDocument } from '../../documents/monitors.ts';
import { Monitoring } from '../../monitors/monitoring.ts';
import { type MonitorOptions, type MonitorSources, monitorSources } from '../../monitors/options.ts';
import type { RecordedSeries } from '../../monitors/prometheus-api.ts';
import { GENERATOR } from '../../monitors/source.ts';
import type { StoredSeries } from '../../storage/runs/monitored.ts';
import type { SqliteRunStore } from '../../storage/runs/store.ts';
import { runAutoscaling } from './autoscaling.ts';

interface RunMonitorParts {
  readonly options: MonitorOptions;
  /** URL of the target. */
  readonly target: string;
  readonly store: SqliteRunStore;
  readonly startNs: () => number | null;
  readonly objectives: readonly Objective[];
  /** Capacity of one replica, requests per second; null if not stated. */
  readonly ratePerReplica: number | null;
  readonly note: (line: string) => void;
}

/** The facts of a run for reading its monitors. Offsets from its start, nanoseconds. */
interface JudgedPart extends MonitoredPart {
  /** The replayed windows, in recorded time. */
  readonly windows: readonly TimeRange[];
  readonly stageEndsNs: readonly number[];
  readonly byAddress: ConnectionsDocument['byAddress'];
}

/** The monitored series of a run, for its judgement and for its document. */
export interface Monitored {
  readonly byName: ReadonlyMap<string, readonly MonitoredValues[]>;
  readonly document: MonitorsDocument;
}

/** The monitors of one run. They read series during the run and keep the values in its store. */
export class RunMonitors {
  readonly #store: SqliteRunStore;
  readonly #sources: MonitorSources;
  readonly #monitoring: Monitoring;
  readonly #series: StoredSeries[] = [];
  readonly #load: LoadSeconds;
  readonly #ratePerReplica: number | null;

  constructor({ options, target, store, startNs, note, objectives, ratePerReplica }: RunMonitorParts) {
    this.#store = store;
    this.#load = new LoadSeconds(objectives);
    this.#ratePerReplica = ratePerReplica;
    this.#sources = monitorSources(options, target, () => systemClock.epochUs() / 1e3);
    this.#monitoring = new Monitoring({
      sources: this.#sources.all,
      clock: systemClock,
      startNs,
      note,
      sink: {
        addSeries: (series, source, facts) => {
          const stored = { series, source, ...facts };
          this.#series.push(stored);
          store.addMonitorSeries(stored);
        },
        addSamples: (samples) => store.addMonitorSamples(samples),
      },
    });
  }

  begin(): void {
    this.#monitoring.begin();
  }

  noteSends(sends: readonly Send[]): void {
    this.#load.add(sends);
    for (const send of sends) {
      const { actualOffsetNs } = send;
      if (actualOffsetNs !== null) this.#sources.generator.noteLag(lagNsOf({ ...send, actualOffsetNs }));
    }
  }

  /**
   * Reads once more after the run. @param waits also wait for scrapes after the run @throws AppError OUTPUT_UNWRITABLE
   */
  async end(waits: boolean): Promise<void> {
    await this.#monitoring.end(waits);
  }

  stop(): void {
    this.#monitoring.stop();
  }

  /** Reads the kept values, and queries the recorded windows. */
  async read(part: JudgedPart): Promise<Monitored & { readonly autoscaling: AutoscalingDocument | null }> {
    const { series: recorded, notes } = await this.#recorded(part.windows);
    const samplesOf = (series: number) => this.#store.monitorSamples(series);
    const read = this.#series.map((stored) => ({
      stored,
      values: monitoredValues(stored.kind, samplesOf(stored.series), part),
    }));
    const { sources } = this.#monitoring;
    const autoscaling = runAutoscaling({
      ...part,
      series: this.#series,
      samplesOf,
      load: this.#load,
      ratePerReplica: this.#ratePerReplica,
      intervalsS: new Map(sources.map(({ name, intervalS }) => [name, intervalS])),
    });
    return { ...monitoredOf(read, { sources, notes }, recorded), autoscaling };
  }

  async #recorded(windows: readonly TimeRange[]): Promise<{ series: RecordedSeries[]; notes: string[] }> {
    const notes: string[] = [];
    const asked = this.#sources.recorded.flatMap((source) => windows.map((window) => ({ source, window })));
    const found = await Promise.all(
      asked.map(async ({ source, window }) => {
        try {
          return await source.recorded(
            window,
            source.intervalMs,
            AbortSignal.timeout(LIMITS.monitorLookMaxMs),
          );
        } catch (thrown) {
          notes.push(`the recorded window of ${source.name} could not be had: ${reasonOf(thrown)}`);
          return [];
        }
      }),
    );
    const series = found.flat();
    if (asked.length > 0 && notes.length === 0 && series.every(({ samples }) => samples.length === 0)) {
      notes.push('no Prometheus holds values of the recorded window: it may be older than what is kept');
    }
    return { series, notes };
  }
}

interface ReadSeries {
  readonly stored: StoredSeries;
  readonly values: MonitoredValues;
}

/** Groups series by name and calculates their figures, with those of the recorded windows. */
export function monitoredOf(
  read: readonly ReadSeries[],
  told: Pick<MonitorsDocument, 'sources' | 'notes' | 'shardsWithout'>,
  recorded: readonly RecordedSeries[] = [],
): Monitored {
  const judged = read.filter(({ stored }) => !stored.name.startsWith(GENERATOR));
  const named = Map.groupBy(judged, ({ stored }) => stored.name);
  const unkept = new Map(told.sources.map(({ name, beyond, unstored }) => [name, beyond + unstored]));
  const ofRead = ({ stored, values }: ReadSeries) => ({ ...values, unkept: unkept.get(stored.source) ?? 0 });
  return {
    byName: new Map([...named].map(([name, each]) => [name, each.map(ofRead)])),
    document: {
      ...told,
      series: read.map(
        ({ stored: { series: _, ...facts }, values }): MonitoredSeries => ({
          ...facts,
          ...monitoredFigures(values),
          change: values.change,
          resets: values.resets,
          recorded: recordedFigures(facts, recorded),
        }),
      ),
    },
  };
}

const ALL: MonitoredPart = {
  fromNs: Number.NEGATIVE_INFINITY,
  toNs: Number.POSITIVE_INFINITY,
  answeredNs: Number.POSITIVE_INFINITY,
};

/**
 * Figures over all recorded windows. If only one recorded series has this name, its labels may differ, because labels
 * in production have other values.
 */
function recordedFigures(
  { name, labels, kind }: Pick<StoredSeries, 'name' | 'labels' | 'kind'>,
  recorded: readonly RecordedSeries[],
): MonitoredSeries['recorded'] {
  const named = recorded.filter((each) => each.name === name);
  const labelSets = new Set(named.map((each) => JSON.stringify(each.labels)));
  const same = labelSets.size === 1 ? named : named.filter((each) => isSame(each.labels, labels));
  const values = same.map(({ samples }) => monitoredValues(kind, samples, ALL));
  if (values.length === 0) return null;
  return monitoredFigures({
    samples: Float64Array.from(values.flatMap(({ samples }) => [...samples])).sort(),
    missing: values.reduce((sum, { missing }) => sum + missing, 0),
    change: null,
    resets: 0,
  });
}

function isSame(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const { __name__: _, ...labels } = a;
  const names = new Set([...Object.keys(labels), ...Object.keys(b)]);
  return [...names].every((name) => labels[name] === b[name]);
}
