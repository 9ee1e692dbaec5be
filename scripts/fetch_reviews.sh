#!/bin/sh
# Gets 10,605 sentences of movie reviews into .cache/movie-reviews.tsv (number, mean rating, text), once.
# They come from the Python package vaderSentiment (Hutto and Gilbert, 2014; MIT).
set -eu
cd "$(dirname "$0")/.."

file=.cache/movie-reviews.tsv
digest=c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350
package=vaderSentiment==3.3.2

is_right() {
  [ -f "$1" ] && echo "$digest  $1" | sha256sum --check --status
}

if is_right "$file"; then exit 0; fi
echo "getting movie reviews from the Python package $package"
rm -rf .cache/download
mkdir -p .cache/download
.venv/bin/pip download -qq --disable-pip-version-check --no-input --no-deps --no-binary :all: \
  --dest .cache/download "$package" </dev/null || true
tar xzOf .cache/download/*.tar.gz --wildcards '*/hutto_ICWSM_2014.tar.gz' |
  tar xzO hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt >.cache/download/reviews.tsv || true
if is_right .cache/download/reviews.tsv; then
  mv .cache/download/reviews.tsv "$file"
  rm -rf .cache/download
  exit 0
fi
echo "error: the reviews could not be had; put them into $file, from movieReviewSnippets_GroundTruth.txt"
exit 1
