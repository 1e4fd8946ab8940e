import { onlyMembers } from "./members.js";

/** How far teal may change a table. */
export enum LifeCycle {
  FULLY_MANAGED = "FULLY_MANAGED",
  /** No drop of the table or of a column. */
  DELETION_PROTECTED = "DELETION_PROTECTED",
  /** Never changed. */
  EXTERNALLY_MANAGED = "EXTERNALLY_MANAGED",
}
onlyMembers("LifeCycle", LifeCycle, "see docs/models.md");
