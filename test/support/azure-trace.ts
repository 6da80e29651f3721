import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { fixtureData } from './shared-data.ts';

export const azureTracePath = fixtureData('azure-llm-2023-conv/AzureLLMInferenceTrace_conv.csv.gz');

/** Arrivals of the Azure trace in epoch microseconds, read without the importer's code. */
export function azureArrivalsUs(): number[] {
  const [, ...rows] = gunzipSync(readFileSync(azureTracePath)).toString('latin1').trimEnd().split('\r\n');
  return rows.map((row) => {
    const match = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6})0,/.exec(row);
    if (!match) throw new Error(`unexpected row: ${row}`);
    const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, us = 0] = match
      .slice(1)
      .map(Number);
    return Date.UTC(year, month - 1, day, hour, minute, second) * 1000 + us;
  });
}

/** Its requests with their tokens. */
export function azureTokens(): { gapMs: number; prompt: number; output: number }[] {
  const arrivals = azureArrivalsUs();
  const [, ...rows] = gunzipSync(readFileSync(azureTracePath)).toString('latin1').trimEnd().split('\r\n');
  return rows.map((row, at) => {
    const [, prompt, output] = row.split(',').map(Number);
    return {
      gapMs: (arrivals[at]! - (arrivals[at - 1] ?? arrivals[0]!)) / 1e3,
      prompt: prompt!,
      output: output!,
    };
  });
}

/** Coefficient of variation of the gaps between neighbours, population variance. */
export function gapVariation(arrivalsUs: readonly number[]): number {
  const gaps = arrivalsUs.slice(1).map((us, index) => us - arrivalsUs[index]!);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  return Math.sqrt(variance) / mean;
}

/** Index of dispersion of the counts in windows from the first arrival, without the last partial window. */
export function countDispersion(arrivalsUs: readonly number[], windowS: number): number {
  const first = arrivalsUs[0]!;
  const windowUs = windowS * 1e6;
  const windows = Math.floor((arrivalsUs.at(-1)! - first) / windowUs);
  const counts = new Array<number>(windows).fill(0);
  for (const us of arrivalsUs) {
    const window = Math.floor((us - first) / windowUs);
    if (window < windows) counts[window]! += 1;
  }
  const mean = counts.reduce((sum, count) => sum + count, 0) / windows;
  return counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / windows / mean;
}
