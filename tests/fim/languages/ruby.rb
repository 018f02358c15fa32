require "json"
require_relative "article"

module Shop
  LIMIT = 3

  class Stock
    attr_reader :left

    def scarce
      # Sorted, so that the list keeps still.
      left.select { |_, n| ║n < LIMIT }.keys.sort
    end

    def self.load(text)
      new(JSON.parse(text))
    end

    def to_s
      "scarce: #{scarce}"
    end
  end
end
