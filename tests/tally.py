#!/usr/bin/env python3
"""Reads the JUnit files that ctest wrote, one a group, and the seconds that each group took; prints why tests were
skipped or failed, which ones failed beside others and passed by themselves (GROUP.again.xml), those times, and as its
last line `N passed, N failed[, N skipped]`. Exits 1 if a test failed or none ran.

usage: tally.py [--budgets 'unit=60 vm=900'] FOLDER
"""
import argparse
import glob
import os
import sys
import xml.etree.ElementTree as ElementTree

TAIL_LINES = 40


def read_cases(path):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        yield {
            "name": case.get("name"),
            "outcome": outcome_of(case),
            "output": case.findtext("system-out") or "",
            "why": why_of(case),
        }


def read_all(folder):
    """Every case once; the second try of a group's failures counts, and is told."""
    cases = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.xml")), key=lambda path: path.endswith(".again.xml")):
        for case in read_cases(path):
            if path.endswith(".again.xml") and case["outcome"] == "passed":
                print(f"again: {case['name']} failed beside other tests and passed by itself")
            cases[case["name"]] = case
    return list(cases.values())


def outcome_of(case):
    """Only a test that says so itself (exit status 77) is skipped; one that ctest could not start failed."""
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    if skipped is not None and "SKIP" in (skipped.get("message") or ""):
        return "skipped"
    return "failed"


def why_of(case):
    for tag in ("failure", "error", "skipped"):
        found = case.find(tag)
        if found is not None:
            return found.get("message") or tag
    return ""


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def print_details(cases):
    for case in cases:
        if case["outcome"] == "skipped":
            print(f"skipped: {case['name']}: {last_line(case['output'])}")
    for case in cases:
        if case["outcome"] == "failed":
            print(f"FAILED: {case['name']} ({case['why']})")
            for line in case["output"].splitlines()[-TAIL_LINES:]:
                print(f"    {line}")


def print_times(folder, budgets):
    for path in sorted(glob.glob(os.path.join(folder, "*.seconds")), key=os.path.getmtime):
        group = os.path.basename(path).removesuffix(".seconds")
        with open(path, encoding="ascii") as f:
            seconds = f.read().strip()
        budget = f" (budget {budgets[group]} s)" if group in budgets else ""
        print(f"{group}: {seconds} s{budget}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--budgets", default="")
    parser.add_argument("folder")
    options = parser.parse_args()
    budgets = dict(pair.split("=") for pair in options.budgets.split())
    cases = read_all(options.folder)
    print_details(cases)
    print_times(options.folder, budgets)
    count = {kind: sum(case["outcome"] == kind for case in cases) for kind in ("passed", "failed", "skipped")}
    line = f"{count['passed']} passed, {count['failed']} failed"
    if count["skipped"]:
        line += f", {count['skipped']} skipped"
    print(line)
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
