import { inertJson } from '../core/text.ts';
import {
  asciiTarget,
  countRequestLosses,
  type ExportedRequest,
  type ExportedSend,
  type ExportFacts,
  type ExportFormat,
  type ExportSettings,
  ExportWriter,
  headerPairs,
  type OutputFile,
} from './export-writer.ts';

/** Targets of Vegeta, one JSON object a line. */
export const VEGETA: ExportFormat = {
  name: 'vegeta',
  summary: 'JSON targets of Vegeta',
  shape: 'file',
  holds: 'requests',
  takes: ['target'],
  needsTarget: true,
  cannotCarry: [
    'arrival times: Vegeta sends at its own rate',
    'stages, bursts and silences',
    'the order and the case of header names',
    'the chunked transfer coding: bodies go with their length',
    'responses',
  ],
  open: (path, settings) => new VegetaWriter(path, settings),
};

class VegetaWriter extends ExportWriter {
  readonly #file: OutputFile;
  readonly #origin: string;
  #rate = '1/1s';

  constructor(path: string, { origin }: ExportSettings) {
    super();
    this.#file = this.open(path);
    this.#origin = origin ?? '';
  }

  override get usage(): readonly string[] {
    const attack = `vegeta attack -format=json -lazy -redirects=-1 -rate=${this.#rate} -targets=FILE`;
    // After its last target Vegeta records attempts of its own that found none, and counts them as failures.
    return [`${attack} | vegeta encode | grep -v 'no targets to attack' | vegeta report`];
  }

  override add({ request }: ExportedSend): boolean {
    if (request === null) return false;
    countRequestLosses(request, this.lost, false);
    this.#file.write(`${inertJson(this.#target(request))}\n`);
    return true;
  }

  protected override finish({ requests, spanNs }: ExportFacts): void {
    this.#rate = `${Math.max(1, requests)}/${spanNs > 0 ? goDuration(spanNs) : '1s'}`;
  }

  #target({ method, path, headers, body }: ExportedRequest): object {
    const header = new Map<string, string[]>();
    for (const [name, value] of headerPairs(headers)) header.set(name, [...(header.get(name) ?? []), value]);
    return {
      method,
      url: this.#origin + asciiTarget(path),
      ...(body === null ? {} : { body: Buffer.from(body).toString('base64') }),
      header: Object.fromEntries(header),
    };
  }
}

/**
 * A duration in Go's format, in the largest unit that is exact. A whole number of requests a second would
 * differ from the mean rate.
 */
function goDuration(ns: number): string {
  const whole = Math.max(1, Math.round(ns));
  const [unit, size] = GO_UNITS.find(([, each]) => whole % each === 0) ?? ['ns', 1];
  return `${whole / size}${unit}`;
}

const GO_UNITS = [
  ['s', 1e9],
  ['ms', 1e6],
  ['us', 1e3],
] as const;
