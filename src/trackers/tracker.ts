import type { PublicationDocument } from '../documents/publication.ts';

/** A file that belongs to a run. */
export interface Artefact {
  readonly name: string;
  readonly mediaType: string;
  readonly content: string;
}

/** What goes to a tracker. Nothing in it may name an address. */
export interface TrackedRun {
  /** Experiment of MLflow; project of W&B and ClearML. */
  readonly experiment: string;
  readonly publication: PublicationDocument;
  readonly artefacts: readonly Artefact[];
}

/** Where a run went. */
export interface Delivery {
  /** As the tracker knows the run: an id, or the place of its offline files. */
  readonly run: string;
  /** Steps of a search that went with it. */
  readonly children: number;
  /** What a limit of the tracker changed or left out. */
  readonly notes: readonly string[];
}
