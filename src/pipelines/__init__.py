"""The pipelines that come with Headrace, written as a user would write theirs."""
